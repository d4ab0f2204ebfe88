//! Downloads of the published files, from the first mirror that delivers them.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use tempfile::NamedTempFile;
use ureq::{Agent, Body, http::Response};

use super::published::{Published, sha256};
use crate::Error;

/// Zalando's server, its repository, and the server that Keras uses. The first has no HTTPS, but
/// every download is verified.
const MIRRORS: [&str; 3] = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
];

/// Downloads `files` into `dir`. Stops at the first file that no mirror delivers, because without a
/// network all would fail.
pub fn download(files: &[&Published], dir: &Path) -> Result<(), Error> {
    let agent = Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(10)))
        .timeout_connect(Some(Duration::from_secs(10)))
        // For a server that stalls, and for one that sends a byte now and then.
        .timeout_per_read(Some(Duration::from_secs(30)))
        .timeout_per_call(Some(Duration::from_mins(20)))
        .build()
        .into();
    download_from(&MIRRORS, &agent, files, dir)
}

fn download_from(
    mirrors: &[&str],
    agent: &Agent,
    files: &[&Published],
    dir: &Path,
) -> Result<(), Error> {
    let cannot_store = |error| Error::Store { dir: dir.to_owned(), error };
    fs::create_dir_all(dir).map_err(cannot_store)?;
    for file in files {
        let bytes = fetch(mirrors, agent, file).map_err(|failures| Error::Download {
            dir: dir.to_owned(),
            file: file.gz_name(),
            failures,
        })?;
        store(&bytes, dir, &file.gz_name()).map_err(cannot_store)?;
    }
    Ok(())
}

/// The verified bytes of `file`, or what went wrong with each mirror.
fn fetch(mirrors: &[&str], agent: &Agent, file: &Published) -> Result<Vec<u8>, Vec<String>> {
    let mut failures = Vec::new();
    for mirror in mirrors {
        let url = format!("{mirror}{}", file.gz_name());
        match fetch_url(&url, agent, file) {
            Ok(bytes) => return Ok(bytes),
            Err(why) => failures.push(format!("{url}: {why}")),
        }
    }
    Err(failures)
}

/// Requests the file, and once more if the transfer was interrupted or corrupt.
fn fetch_url(url: &str, agent: &Agent, file: &Published) -> Result<Vec<u8>, String> {
    let attempt = || {
        eprintln!("downloading {url}");
        agent.get(url).call().map_err(|error| error.to_string())
    };
    receive(attempt()?, file).or_else(|_| receive(attempt()?, file))
}

fn receive(response: Response<Body>, file: &Published) -> Result<Vec<u8>, String> {
    let bar = ProgressBar::new(file.gz_len as u64).with_style(
        ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {eta} to go")
            .expect("a valid template"),
    );
    // One byte more than expected shows a longer answer; nothing is read beyond that.
    let body = response.into_body().into_reader().take(file.gz_len as u64 + 1);
    let mut bytes = Vec::with_capacity(file.gz_len + 1);
    bar.wrap_read(body)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("interrupted after {} bytes: {error}", bytes.len()))?;
    bar.finish_and_clear();

    if sha256(&bytes) != file.gz_sha256 {
        return Err("sent another file than the published one: its SHA-256 differs".into());
    }
    Ok(bytes)
}

/// Writes the file under a temporary name first, so that its own name never has a partial file.
fn store(bytes: &[u8], dir: &Path, name: &str) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    // Synced before it is renamed, so that a power cut cannot leave an empty file under its name.
    file.as_file().sync_all()?;
    file.persist(dir.join(name))?;
    // The new name is synced too, where a folder can be opened; on Windows it cannot.
    File::open(dir).and_then(|folder| folder.sync_all()).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::TcpListener,
        sync::{Arc, Mutex},
        thread,
    };

    use tempfile::TempDir;

    use super::{
        super::{Files, tests::Sample},
        *,
    };
    use crate::Origin;

    /// A local server that answers one request after the other until it has no more answers.
    struct Server {
        url: String,
        /// The requested paths.
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn new(answers: Vec<Vec<u8>>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let asked = Arc::new(Mutex::new(Vec::new()));
            let paths = Arc::clone(&asked);
            thread::spawn(move || {
                for answer in answers {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
                    let line = request.next().unwrap().unwrap();
                    paths.lock().unwrap().push(line.split(' ').nth(1).unwrap().to_owned());
                    while !request.next().unwrap().unwrap().is_empty() {}
                    // A client that has read enough may have disconnected.
                    let _ = stream.write_all(&answer);
                    if answer.ends_with(STALL) {
                        thread::sleep(Duration::from_secs(60));
                    }
                }
            });
            Self { url, asked }
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    /// If an answer ends with this, the server keeps the connection open.
    const STALL: &[u8] = b"stall";

    fn status(status: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into()
    }

    /// An answer that announces `len` bytes and sends `body`.
    fn answer(len: usize, body: &[u8]) -> Vec<u8> {
        let header =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n");
        [header.as_bytes(), body].concat()
    }

    fn good(sample: &Sample) -> Vec<u8> {
        answer(sample.gz.len(), &sample.gz)
    }

    fn broken(sample: &Sample) -> Vec<u8> {
        answer(sample.gz.len(), &sample.gz[..20])
    }

    fn download_in(dir: &TempDir, servers: &[&Server], samples: &[&Sample]) -> Result<(), Error> {
        let mirrors: Vec<_> = servers.iter().map(|server| server.url.as_str()).collect();
        let files: Vec<_> = samples.iter().map(|sample| &sample.published).collect();
        download_from(&mirrors, &agent(), &files, &dir.path().join("made/on/demand"))
    }

    fn agent() -> Agent {
        Agent::config_builder()
            .proxy(None)
            .timeout_per_read(Some(Duration::from_secs(1)))
            .build()
            .into()
    }

    /// Names and contents of files.
    type Stored = Vec<(String, Vec<u8>)>;

    /// The files in the directory of the downloads.
    fn stored(dir: &TempDir) -> Stored {
        let entries = fs::read_dir(dir.path().join("made/on/demand")).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn downloads_arrive_under_their_names() {
        let dir = TempDir::new().unwrap();
        let (images, labels) = (Sample::images(), Sample::labels());
        let server = Server::new(vec![good(&images), good(&labels)]);
        download_in(&dir, &[&server], &[&images, &labels]).unwrap();
        assert_eq!(server.asked(), ["/images.gz", "/labels.gz"]);
        let expected = [("images.gz".into(), images.gz), ("labels.gz".into(), labels.gz)];
        assert_eq!(stored(&dir), expected);
    }

    #[test]
    fn a_refusal_leads_to_the_next_mirror() {
        let dir = TempDir::new().unwrap();
        let sample = Sample::images();
        let first = Server::new(vec![status("403 Forbidden")]);
        let second = Server::new(vec![good(&sample)]);
        download_in(&dir, &[&first, &second], &[&sample]).unwrap();
        assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
        assert_eq!(stored(&dir), [("images.gz".into(), sample.gz)]);
    }

    #[test]
    fn a_broken_transfer_is_tried_once_more() {
        let dir = TempDir::new().unwrap();
        let sample = Sample::images();
        let server = Server::new(vec![broken(&sample), good(&sample)]);
        download_in(&dir, &[&server], &[&sample]).unwrap();
        assert_eq!(stored(&dir), [("images.gz".into(), sample.gz)]);
    }

    #[test]
    fn a_transfer_that_breaks_twice_leads_to_the_next_mirror() {
        let dir = TempDir::new().unwrap();
        let sample = Sample::images();
        let first = Server::new(vec![broken(&sample), broken(&sample)]);
        let second = Server::new(vec![good(&sample)]);
        download_in(&dir, &[&first, &second], &[&sample]).unwrap();
        assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
    }

    #[test]
    fn a_server_that_stalls_is_given_up() {
        let dir = TempDir::new().unwrap();
        let sample = Sample::images();
        let first = Server::new(vec![answer(sample.gz.len(), STALL)]);
        let second = Server::new(vec![good(&sample)]);
        download_in(&dir, &[&first, &second], &[&sample]).unwrap();
        assert_eq!(stored(&dir), [("images.gz".into(), sample.gz)]);
    }

    #[test]
    fn wrong_bytes_are_refused_and_not_kept() {
        let (images, labels) = (Sample::images(), Sample::labels());
        let endless = answer(1 << 40, &vec![0; 1 << 20]);
        for wrong in [good(&labels), endless, answer(5, b"<html")] {
            let dir = TempDir::new().unwrap();
            let server = Server::new(vec![wrong.clone(), wrong]);
            let error = download_in(&dir, &[&server], &[&images]).unwrap_err();
            assert!(error.to_string().contains("sent another file"), "{error}");
            assert_eq!(stored(&dir), []);
        }
    }

    #[test]
    fn when_all_fail_a_line_for_each_says_why_and_the_rest_is_not_tried() {
        let dir = TempDir::new().unwrap();
        let (images, labels) = (Sample::images(), Sample::labels());
        let servers = [
            Server::new(vec![status("403 Forbidden"), status("403 Forbidden")]),
            Server::new(vec![broken(&images), broken(&images)]),
            // Its listener is closed.
            Server::new(vec![]),
        ];
        let all = [&servers[0], &servers[1], &servers[2]];
        let error = download_in(&dir, &all, &[&images, &labels]).unwrap_err();
        assert!(error.is_unavailable());
        let message = error.to_string();
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines.len(), 5, "{message}");
        assert_eq!(lines[0], "cannot download images.gz:");
        assert_eq!(lines[1], format!("  {}images.gz: http status: 403", servers[0].url));
        assert!(lines[2].contains("interrupted after 20 bytes"), "{message}");
        assert!(lines[3].starts_with(&format!("  {}", servers[2].url)), "{message}");
        assert!(lines[4].contains("made/on/demand") && lines[4].contains("FASHION_MNIST_DIR"));
        assert_eq!(servers[0].asked(), ["/images.gz"]);
        assert_eq!(stored(&dir), []);
    }

    /// Reads the sample in a directory where its file is damaged, with one server to download from.
    fn read_damaged(
        damaged: &[u8],
        origin: Origin,
        answers: Vec<Vec<u8>>,
    ) -> (Result<Vec<u8>, Error>, Vec<String>, Stored) {
        let dir = TempDir::new().unwrap();
        let folder = dir.path().join("made/on/demand");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("images.gz"), damaged).unwrap();
        let server = Server::new(answers);
        let read = Files { dir: folder, origin }
            .read_or_replace(&Sample::images().published, |files, dir| {
                download_from(&[&server.url], &agent(), files, dir)
            });
        (read, server.asked(), stored(&dir))
    }

    #[test]
    fn a_damaged_file_in_the_cache_is_downloaded_again() {
        let (images, labels) = (Sample::images(), Sample::labels());
        let mut flipped = images.gz.clone();
        flipped[20] ^= 1;
        for damaged in [&[][..], &images.gz[..20], &flipped, &labels.gz] {
            let (read, asked, stored) = read_damaged(damaged, Origin::Cache, vec![good(&images)]);
            assert_eq!(read.unwrap(), &images.idx[16..]);
            assert_eq!(asked, ["/images.gz"]);
            assert_eq!(stored, [("images.gz".into(), images.gz.clone())]);
        }
    }

    #[test]
    fn a_damaged_file_stays_where_no_better_one_can_be_had() {
        let (read, _, stored) = read_damaged(b"", Origin::Cache, vec![status("403 Forbidden")]);
        let error = read.unwrap_err();
        assert!(matches!(error, Error::Download { .. }) && error.is_unavailable());
        assert_eq!(stored, [("images.gz".into(), vec![])]);
    }

    #[test]
    fn a_damaged_file_in_a_directory_that_was_named_is_an_error() {
        for origin in [Origin::Argument, Origin::Environment] {
            let (read, asked, stored) = read_damaged(b"", origin, vec![good(&Sample::images())]);
            let error = read.unwrap_err();
            assert!(matches!(error, Error::Wrong { .. }) && !error.is_unavailable());
            assert!(error.to_string().contains("images.gz is not the published"), "{error}");
            assert_eq!(asked, [""; 0]);
            assert_eq!(stored, [("images.gz".into(), vec![])]);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("made"), "a file in the way").unwrap();
        let server = Server::new(vec![]);
        let error = download_in(&dir, &[&server], &[&Sample::images()]).unwrap_err();
        assert!(matches!(error, Error::Store { .. }) && error.is_unavailable());
        assert!(error.to_string().contains("made/on/demand"), "{error}");
    }
}
