//! Checks that no file of a crate imports itself through others.
//!
//! A file depends on the files that define what its `use` lines and its paths beginning with
//! `crate`, `super` or `self` name; re-exports are followed. Tests and the content of macros do not
//! count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Item, ItemUse, UseTree, Visibility, visit::Visit};
use train::Error;

use crate::assets::root;

/// The path of a module within its crate.
type Module = Vec<String>;

/// The modules of a crate that are files.
type Files = BTreeMap<Module, File>;

/// A source file.
struct File {
    path: PathBuf,
    /// What it names, as paths within the crate.
    names: Vec<Module>,
    /// What it re-exports: the new name, or `*`, and the path; `None` if it is of another crate.
    exports: Vec<(String, Option<Module>)>,
}

/// Prints what each file of each crate imports.
///
/// # Errors
///
/// If files import each other in a cycle, or a file cannot be read.
pub fn run() -> Result<(), Error> {
    let mut cycles = Vec::new();
    for folder in crates()? {
        let imports = imports(&folder)?;
        println!("{}", folder.strip_prefix(root()).unwrap_or(&folder).display());
        for (file, imported) in &imports {
            let imported = imported.iter().map(|path| path.display().to_string());
            println!("    {}: {}", file.display(), imported.collect::<Vec<_>>().join(" "));
        }
        cycles.extend(cycle(&imports));
    }
    if cycles.is_empty() {
        Ok(())
    } else {
        Err(Error::Usage(format!("import cycles:\n    {}", cycles.join("\n    "))))
    }
}

/// The folders of all crates.
fn crates() -> Result<Vec<PathBuf>, Error> {
    let folder = root().join("crates");
    let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut crates: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    crates.push(root().join("xtask"));
    crates.sort();
    Ok(crates)
}

/// The files that each file of a crate imports from, as paths in the folder of its sources.
fn imports(folder: &Path) -> Result<BTreeMap<PathBuf, BTreeSet<PathBuf>>, Error> {
    let sources = folder.join("src");
    let main = if sources.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
    let mut files = Files::new();
    read(&sources, Path::new(main), Module::new(), &mut files)?;
    let imported = |file: &File| {
        let imported = file.names.iter().map(|name| files[&definition(&files, name)].path.clone());
        imported.filter(|path| *path != file.path).collect()
    };
    Ok(files.values().map(|file| (file.path.clone(), imported(file))).collect())
}

/// Reads a file and those of its modules.
fn read(sources: &Path, path: &Path, module: Module, files: &mut Files) -> Result<(), Error> {
    let full = sources.join(path);
    let text = fs::read_to_string(&full).map_err(|error| unreadable(&full, &error))?;
    let parsed = syn::parse_file(&text).map_err(|error| unreadable(&full, &error))?;
    let children = parsed.items.iter().filter_map(|item| match item {
        Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let (names, exports) = (Vec::new(), Vec::new());
    let mut names = Names { module: module.clone(), children: children.collect(), names, exports };
    names.visit_file(&parsed);
    let Names { names, exports, .. } = names;
    files.insert(module.clone(), File { path: path.to_owned(), names, exports });

    let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
    let inside = if is_root { path.with_file_name("") } else { path.with_extension("") };
    for item in parsed.items {
        let Item::Mod(item) = item else { continue };
        let elsewhere = item.attrs.iter().any(|attribute| attribute.path().is_ident("path"));
        if item.content.is_some() || elsewhere || is_test(&item.attrs) {
            continue;
        }
        let name = item.ident.to_string();
        let child = [module.clone(), vec![name.clone()]].concat();
        let file = inside.join(&name).with_extension("rs");
        let file =
            if sources.join(&file).exists() { file } else { inside.join(&name).join("mod.rs") };
        read(sources, &file, child, files)?;
    }
    Ok(())
}

/// The module whose file defines what the path names.
fn definition(files: &Files, path: &[String]) -> Module {
    let mut module = Module::new();
    for (index, name) in path.iter().enumerate() {
        let child = [module.clone(), vec![name.clone()]].concat();
        if files.contains_key(&child) {
            module = child;
            continue;
        }
        let rest = &path[index + 1..];
        let exports = &files[&module].exports;
        if let Some((_, from)) = exports.iter().find(|(exported, _)| exported == name) {
            let to = from.as_ref().map(|from| [from, rest].concat());
            return to.map_or(module, |to| definition(files, &to));
        }
        // A glob re-exports what its own module defines or re-exports; the first one that may have
        // the name is taken.
        let globs = exports.iter().filter(|(exported, _)| exported == "*");
        let from = globs.filter_map(|(_, from)| from.as_ref()).next();
        return from.map_or(module, |from| definition(files, &[from, &path[index..]].concat()));
    }
    module
}

/// An import cycle, if there is one.
fn cycle(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>) -> Option<String> {
    // Removes files that import none of the others, until only files in cycles, and files that
    // lead to them, are left.
    let mut left = imports.clone();
    loop {
        let free: BTreeSet<_> =
            left.iter().filter(|(_, to)| to.is_empty()).map(|(file, _)| file.clone()).collect();
        if free.is_empty() {
            break;
        }
        left.retain(|file, _| !free.contains(file));
        left.values_mut().for_each(|to| to.retain(|file| !free.contains(file)));
    }
    // From any of them, some file comes back.
    let mut path = vec![left.keys().next()?];
    loop {
        let next = left[*path.last()?].first()?;
        if let Some(start) = path.iter().position(|file| *file == next) {
            let cycle = path[start..].iter().chain([&next]);
            let cycle: Vec<_> = cycle.map(|file| file.display().to_string()).collect();
            return Some(cycle.join(" -> "));
        }
        path.push(next);
    }
}

/// Collects what a file names.
struct Names {
    module: Module,
    /// The modules declared in the file.
    children: Vec<String>,
    names: Vec<Module>,
    exports: Vec<(String, Option<Module>)>,
}

impl Names {
    /// The path within the crate, for a path that begins with `crate`, `self`, `super` or a module
    /// of this file.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.module, &path[1..]].concat()),
            "super" => {
                let parent = self.module.len().checked_sub(supers)?;
                Some([&self.module[..parent], &path[supers..]].concat())
            }
            first if self.children.iter().any(|child| child == first) => {
                Some([&self.module, path].concat())
            }
            _ => None,
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if is_test(&item.attrs) {
            return;
        }
        let is_export = !matches!(item.vis, Visibility::Inherited);
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        for (name, path) in leaves {
            let path = self.absolute(&path);
            if is_export {
                self.exports.push((name, path));
            } else {
                self.names.extend(path);
            }
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.names.extend(self.absolute(&names).filter(|_| names.len() > 1));
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_if(&mut self, expression: &'a syn::ExprIf) {
        if !is_test(&expression.attrs) {
            syn::visit::visit_expr_if(self, expression);
        }
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }
}

/// The paths of a `use`, each with the name that it gets, or `*`.
fn flatten(tree: &UseTree, path: &mut Module, leaves: &mut Vec<(String, Module)>) {
    let mut leaf = |name: String, last: Option<String>| {
        leaves.push((name, path.iter().cloned().chain(last).collect()));
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            flatten(&inner.tree, path, leaves);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaf(path.last().cloned().unwrap_or_default(), None);
        }
        UseTree::Name(name) => leaf(name.ident.to_string(), Some(name.ident.to_string())),
        UseTree::Rename(it) => leaf(it.rename.to_string(), Some(it.ident.to_string())),
        UseTree::Glob(_) => leaf("*".to_owned(), None),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, leaves);
            }
        }
    }
}

/// Whether an item is compiled for tests only: `cfg(test)` or `cfg(all(test, ...))`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().map(|list| list.tokens.to_string());
        condition.is_ok_and(|it| it == "test" || it.replace(' ', "").starts_with("all(test,"))
    })
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_files_import_each_other_in_a_cycle() {
        for folder in crates().unwrap() {
            let imports = imports(&folder).unwrap();
            assert!(imports.len() > 1 || folder.ends_with("test-devices"), "{}", folder.display());
            assert_eq!(cycle(&imports), None, "{}", folder.display());
        }
    }

    #[test]
    fn a_cycle_is_found_through_re_exports() {
        let folder = tempfile::tempdir().unwrap();
        let sources = folder.path().join("src");
        fs::create_dir_all(sources.join("b")).unwrap();
        let write = |name: &str, text: &str| fs::write(sources.join(name), text).unwrap();
        write("lib.rs", "mod a; mod b; pub use b::Made as Item; #[cfg(test)] mod tests;");
        write("a.rs", "use crate::Item; pub fn f(_: super::b::other::Other) {}");
        write("b/mod.rs", "pub mod other; mod made; pub use made::*;");
        write("b/made.rs", "pub struct Made;");
        write(
            "b/other.rs",
            "pub struct Other; mod inner { #[cfg(test)] mod tests { use crate::a; } }",
        );
        let open = imports(folder.path()).unwrap();
        let of_a: Vec<_> =
            open[Path::new("a.rs")].iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(of_a, ["b/made.rs", "b/other.rs"]);
        assert_eq!(cycle(&open), None);

        write("b/made.rs", "pub struct Made; fn g(it: super::other::Other) { crate::a::f(it) }");
        let closed = cycle(&imports(folder.path()).unwrap()).unwrap();
        assert_eq!(closed, "a.rs -> b/made.rs -> a.rs");
    }
}
