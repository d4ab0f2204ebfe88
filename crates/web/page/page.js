// The page: controls, curves and pictures. The work is done in worker.js.

import { bars, lineChart, picture } from "./charts.js";
import { texts } from "./texts.js";

const $ = (id) => document.getElementById(id);
let worker;
const send = (type, content = {}, transfer = []) => worker.postMessage({ type, ...content }, transfer);

const SIDE = 28;
let language = new URLSearchParams(location.search).get("lang") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
if (!(language in texts)) language = "en";
let t = texts[language];

// What is shown, so that another language or theme can show it again.
const state = {
  source: undefined, // { synthetic, classes }
  missing: 0, // of the four files, if some were given
  created: false, running: false,
  losses: [], // of the first steps, for the page's test
  curve: [], validations: [], last: undefined,
  snapshot: undefined, probabilities: undefined, truth: undefined,
  pixels: new Uint8Array(SIDE * SIDE),
  testImage: 0,
};

// Texts.

const number = (value, digits) => value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const className = (name) => t.classes[name] ?? name;

function write() {
  t = texts[language];
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t.title;
  $("language").textContent = t.other;
  $("language").lang = language === "zh" ? "en" : "zh-CN";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t[element.dataset.text];
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = t[element.dataset.label];
  writeSource();
  writeAbout();
  writeButtons();
  writeStatus();
  drawCurves();
  drawSnapshot();
  drawPrediction();
}

function writeSource() {
  const { source } = state;
  const known = !source ? t.noData : source.synthetic ? t.isSynthetic : t.isReal;
  $("source").textContent = state.missing ? `${t.missing(state.missing)} ${source ? known : ""}` : known;
}

function writeAbout() {
  $("about").textContent = t.about[$("settings").elements.network.value];
}

function writeButtons() {
  $("train").textContent = state.running ? t.pause : state.created && state.last ? t.goOn : t.train;
  $("train").disabled = !state.source;
  $("restart").disabled = !state.last;
  $("download").disabled = !state.created;
  $("load").disabled = !state.created;
}

function writeStatus() {
  const lines = [];
  if (state.last) {
    const { epoch, step, loss, accuracy, speed, memory } = state.last;
    lines.push(t.status({ epoch, step, loss: number(loss, 3), accuracy: number(accuracy, 3), speed: number(speed, 0) }));
    const validation = state.validations.at(-1);
    if (validation) lines.push(t.validated({ epoch: validation.epoch, loss: number(validation.loss, 4), accuracy: number(validation.accuracy, 4) }));
    lines.push(t.memory(number(memory / 1e6, 0)));
  }
  $("status").textContent = lines.join(" ");
  $("progress").value = state.last?.share ?? 0;
}

// Says something to the visitor: an error, or good news.
function say(text = "", isGood = false) {
  $("message").textContent = text;
  $("message").classList.toggle("good", isGood);
}

// Pictures.

function drawCurves() {
  const line = (index) => ({ name: "--training", points: state.curve.map((point) => [point[0], point[index]]) });
  const dots = (key) => ({ name: "--validation", dots: true, points: state.validations.map((it) => [it.step, it[key]]) });
  lineChart($("loss"), [line(1), dots("loss")], t.step);
  lineChart($("accuracy"), [line(2), dots("accuracy")], t.step, [0, 1]);
}

function drawSnapshot() {
  if (!state.snapshot) return;
  const { filters, features, statistics } = state.snapshot;
  $("filters").replaceChildren(...filters.pictures.map((it) => picture(it, filters.size)));
  $("features").replaceChildren(...features.map((layer) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = `${layer.layer}: ${layer.size.join(" × ")}`;
    const row = document.createElement("div");
    row.className = "pictures";
    row.append(...layer.pictures.map((it) => picture(it, layer.size)));
    figure.append(caption, row);
    return figure;
  }));
  const figures = statistics.map((it) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = it.layer;
    const canvas = document.createElement("canvas");
    figure.append(caption, canvas);
    return { figure, canvas, it };
  });
  $("statistics").replaceChildren(...figures.map(({ figure }) => figure));
  if (figures.length === 0) $("statistics").textContent = t.noStatistics;
  for (const { canvas, it } of figures) {
    bars(canvas, [{ values: it.mean, name: "--training" }, { values: it.variance, name: "--validation" }]);
  }
}

function drawPrediction() {
  const names = state.source?.classes ?? [];
  const probabilities = state.probabilities ?? [];
  const best = Math.max(...probabilities);
  $("classes").replaceChildren(...names.map((name, index) => {
    const item = document.createElement("li");
    const share = probabilities[index];
    const text = document.createElement("span");
    text.textContent = className(name);
    item.append(text);
    if (share !== undefined) {
      const value = document.createElement("span");
      value.textContent = `${number(share * 100, 1)} %`;
      item.append(value);
      item.style.setProperty("--share", `${share * 100}%`);
      item.classList.toggle("best", share === best);
    }
    return item;
  }));
  $("truth").textContent = state.truth === undefined ? "" : t.truth(className(names[state.truth]));
}

const context = $("picture").getContext("2d", { willReadFrequently: true });

function showPixels() {
  const data = context.createImageData(SIDE, SIDE);
  state.pixels.forEach((value, index) => data.data.set([value, value, value, 255], index * 4));
  context.putImageData(data, 0, 0);
}

// The visitor changed the picture.
function changed() {
  state.truth = undefined;
  showPixels();
  drawPrediction();
  if (state.created) send("picture", { pixels: state.pixels.slice() });
}

// Messages from the worker.

const received = {
  ready() {
    document.body.dataset.ready = "";
  },
  missing({ count }) {
    state.missing = count;
    writeSource();
  },
  data({ synthetic, classes }) {
    state.source = { synthetic, classes };
    Object.assign(state, { created: false, running: false, losses: [], curve: [], validations: [], last: undefined, probabilities: undefined });
    say();
    write();
    send("testImage", { index: state.testImage });
    create();
  },
  created() {
    state.created = true;
    Object.assign(state, { losses: [], curve: [], validations: [], last: undefined });
    say();
    write();
    if (state.running) send("run");
  },
  testImage({ pixels, label }) {
    state.pixels.set(pixels);
    state.truth = label;
    showPixels();
    drawPrediction();
  },
  steps({ steps, epoch, share, speed, memory }) {
    for (const [step, loss, accuracy] of steps) {
      if (state.losses.length < 100) state.losses.push(loss);
      // A mean that forgets older steps, so that the curve can be read.
      const before = state.curve.at(-1);
      const keep = before ? 0.95 : 0;
      state.curve.push([step, keep * (before?.[1] ?? 0) + (1 - keep) * loss, keep * (before?.[2] ?? 0) + (1 - keep) * accuracy]);
      state.last = { step, loss, accuracy, epoch, share, speed, memory };
    }
    // Half of the points, once there are more than the chart has pixels.
    if (state.curve.length > 4000) state.curve = state.curve.filter((_, index) => index % 2 === 1);
    writeStatus();
    writeButtons();
    drawCurves();
  },
  validation({ step, epoch, loss, accuracy }) {
    state.validations.push({ step, epoch, loss, accuracy });
    writeStatus();
    drawCurves();
  },
  prediction({ probabilities }) {
    state.probabilities = probabilities;
    drawPrediction();
  },
  snapshot({ snapshot }) {
    state.snapshot = snapshot;
    drawSnapshot();
  },
  weights({ name, bytes }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    link.download = `${name}.safetensors`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },
  loaded({ name }) {
    say(t.loaded(name), true);
  },
  error({ text, running }) {
    state.running = running;
    say(text);
    writeSource();
    writeButtons();
  },
  panicked() {
    startWorker();
    Object.assign(state, { source: undefined, missing: 0, created: false, running: false, last: undefined });
    write();
    say(t.panicked);
  },
};

function startWorker() {
  worker?.terminate();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => received[data.type](data);
  worker.onerror = (event) => say(event.message ?? t.panicked);
}

// What the visitor does.

function create() {
  // The browser says what is wrong, in the visitor's language.
  if (!$("settings").reportValidity()) state.running = false;
  state.created = false;
  writeButtons();
  if (!$("settings").checkValidity()) return;
  const { elements } = $("settings");
  const settings = {};
  for (const element of elements) settings[element.name] = element.type === "number" ? Number(element.value) : element.value;
  send("create", { settings });
}

// The contents of a file or of an answer; undefined, with a sentence, if they cannot be read.
async function read(source, name) {
  try {
    return await source.arrayBuffer();
  } catch {
    say(t.unreadable(name));
    writeSource();
  }
}

async function addFiles(list) {
  say();
  $("source").textContent = t.loading;
  for (const file of list) {
    const contents = await read(file, file.name);
    if (!contents) return;
    send("addFile", { name: file.name, contents }, [contents]);
  }
}

async function loadWeights(file) {
  if (!state.created) return say(t.imagesFirst);
  const contents = await read(file, file.name);
  if (contents) send("load", { name: file.name, contents }, [contents]);
}

async function openPicture(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return say(t.notPicture(file.name));
  }
  // The middle of the picture, in gray. Fashion-MNIST shows light things on black.
  const side = Math.min(bitmap.width, bitmap.height);
  context.fillStyle = "#000";
  context.fillRect(0, 0, SIDE, SIDE);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  bitmap.close();
  const { data } = context.getImageData(0, 0, SIDE, SIDE);
  const gray = state.pixels.map((_, index) => {
    const [red, green, blue] = data.subarray(index * 4);
    return 0.299 * red + 0.587 * green + 0.114 * blue;
  });
  const isBorder = (index) => index < SIDE || index >= SIDE * (SIDE - 1) || index % SIDE === 0 || index % SIDE === SIDE - 1;
  const border = gray.filter((_, index) => isBorder(index));
  const isLight = border.reduce((sum, value) => sum + value, 0) / border.length > 127;
  state.pixels.set(isLight ? gray.map((value) => 255 - value) : gray);
  say();
  changed();
}

// Draws a soft dot wherever the pointer was.
function draw(event) {
  const box = $("picture").getBoundingClientRect();
  for (const { clientX, clientY } of [event, ...(event.getCoalescedEvents?.() ?? [])]) {
    const x = ((clientX - box.left) / box.width) * SIDE;
    const y = ((clientY - box.top) / box.height) * SIDE;
    state.pixels.forEach((value, index) => {
      const distance = Math.hypot((index % SIDE) + 0.5 - x, Math.floor(index / SIDE) + 0.5 - y);
      const ink = 255 * Math.max(0, Math.min(1, 2.2 - distance));
      state.pixels[index] = Math.max(value, ink);
    });
  }
  changed();
}

$("picture").addEventListener("pointerdown", (event) => {
  $("picture").setPointerCapture(event.pointerId);
  draw(event);
});
$("picture").addEventListener("pointermove", (event) => {
  if (event.buttons & 1) draw(event);
});
$("picture").addEventListener("pointerup", () => send("look"));
$("clear").onclick = () => {
  state.pixels.fill(0);
  changed();
};
$("next").onclick = () => {
  state.testImage += 1;
  if (state.source) send("testImage", { index: state.testImage });
};
$("photo").onchange = ({ target }) => {
  if (target.files.length) openPicture(target.files[0]);
  target.value = "";
};
$("language").onclick = () => {
  language = language === "en" ? "zh" : "en";
  write();
};
$("files").onchange = ({ target }) => {
  addFiles([...target.files]);
  target.value = "";
};
$("synthetic").onclick = () => {
  $("source").textContent = t.loading;
  send("synthetic");
};
$("server").onclick = async () => {
  $("source").textContent = t.loading;
  for (const name of ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]) {
    const answer = await fetch(`fashion-mnist/${name}.gz`).catch(() => undefined);
    if (!answer?.ok) {
      say(t.notOnServer(`${name}.gz`));
      return writeSource();
    }
    const contents = await read(answer, `${name}.gz`);
    if (!contents) return;
    send("addFile", { name, contents }, [contents]);
  }
};
$("train").onclick = () => {
  state.running = !state.running;
  if (!state.running) send("pause");
  else if (state.created) send("run");
  else create();
  writeButtons();
};
$("restart").onclick = () => create();
$("settings").onchange = () => {
  writeAbout();
  state.running = false;
  if (state.source) create();
};
$("settings").onsubmit = (event) => event.preventDefault();
$("download").onclick = () => send("weights");
$("load").onchange = ({ target }) => {
  if (target.files.length) loadWeights(target.files[0]);
  target.value = "";
};

// Files that are dropped on the page: weights, a picture, or the images to train on.
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const dropped = [...event.dataTransfer.files];
  const weights = dropped.find((file) => /\.(safetensors|bpk|pth|pt|bin)$/i.test(file.name));
  const photo = dropped.find((file) => file.type.startsWith("image/"));
  if (weights) loadWeights(weights);
  else if (photo) openPicture(photo);
  else if (dropped.length) addFiles(dropped);
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", write);
addEventListener("resize", () => {
  drawCurves();
  drawSnapshot();
});
// For the page's test, tests/page.py.
if (new URLSearchParams(location.search).has("debug")) globalThis.state = state;

startWorker();
write();
showPixels();
