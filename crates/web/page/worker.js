// Trains in the background, so that the page always answers. Each message has a `type`.

import init, { Dataset, Files, Trainer } from "./web.js";

// Messages that come before this is done wait for it.
const ready = init();
let wasm, files;
let data, trainer, settings;
let turn = 0; // the training that runs; a pause or another network ends it
let running = false;
let step = 0;
let image; // the pixels of the picture that is shown

const post = (type, content = {}) => postMessage({ type, ...content });
const sentence = (error) => (typeof error === "string" ? error : String(error?.message ?? error));

const handlers = {
  addFile({ name, contents }) {
    files ??= new Files();
    files.add(name, new Uint8Array(contents));
    const count = files.missing();
    if (count === 0) {
      use(Dataset.fromFiles(files));
      files = undefined;
    }
    post("missing", { count });
  },
  synthetic() {
    use(Dataset.synthetic());
  },
  create(message) {
    stop();
    // First, so that there are never two in memory.
    trainer?.free();
    trainer = undefined;
    settings = message.settings;
    step = 0;
    trainer = new Trainer(data, JSON.stringify(settings));
    post("created");
    show();
  },
  run() {
    if (!running && trainer) {
      running = true;
      train(turn);
    }
  },
  pause: stop,
  testImage({ index }) {
    image = data.pixels(index);
    post("testImage", { pixels: image, label: data.label(index) });
    show();
  },
  picture({ pixels }) {
    image = pixels;
    predict();
  },
  look() {
    show();
  },
  weights() {
    post("weights", { name: settings.network, bytes: trainer.weights() });
  },
  load({ name, contents }) {
    trainer.load(name, new Uint8Array(contents));
    post("loaded", { name });
    show();
  },
};

onmessage = async ({ data: message }) => {
  try {
    wasm ??= await ready;
    handlers[message.type](message);
  } catch (error) {
    report(error);
  }
};

// After a panic the memory cannot be trusted: the page then starts another worker.
function report(error) {
  const type = error instanceof WebAssembly.RuntimeError ? "panicked" : "error";
  post(type, { text: sentence(error), running });
}

function stop() {
  running = false;
  turn += 1;
}

function use(dataset) {
  stop();
  trainer?.free();
  trainer = undefined;
  data?.free();
  data = dataset;
  post("data", { synthetic: data.isSynthetic(), classes: data.classNames() });
}

function predict() {
  if (trainer && image) post("prediction", { probabilities: trainer.predict(image) });
}

function show() {
  if (!trainer || !image) return;
  predict();
  post("snapshot", { snapshot: JSON.parse(trainer.snapshot(image)) });
}

async function train(mine) {
  let shown = performance.now();
  try {
    while (mine === turn) {
      // Some steps at a time, and then the messages that came in between.
      const began = performance.now();
      const steps = [];
      let epochEnded = false;
      let now;
      do {
        const [loss, accuracy] = trainer.step();
        step += 1;
        steps.push([step, loss, accuracy]);
        epochEnded = trainer.epoch()[1] >= 1;
        now = performance.now();
      } while (now - began < 100 && !epochEnded);
      const [epoch, share] = trainer.epoch();
      const images = steps.length * settings.batch_size;
      post("steps", { steps, epoch, share, speed: images / ((now - began) / 1000), memory: wasm.memory.buffer.byteLength });
      if (epochEnded) {
        const [loss, accuracy] = trainer.validate(5000);
        post("validation", { step, epoch, loss, accuracy });
      }
      if (epochEnded || performance.now() - shown > 1000) {
        show();
        shown = performance.now();
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
  } catch (error) {
    stop();
    report(error);
  }
}

ready.then(() => post("ready"), report);
