// Trains in the background, so that the page always answers. Each message has a `type`.

import init, { Dataset, Files, Trainer } from "./web.js";

const wasm = await init();
let files = new Files();
let data, trainer, settings;
let turn = 0; // the training that runs; a pause or another network ends it
let running = false;
let step = 0;
let image; // the pixels of the picture that is shown

const post = (type, content = {}) => postMessage({ type, ...content });
const sentence = (error) => (typeof error === "string" ? error : String(error?.message ?? error));

const handlers = {
  addFile({ name, contents }) {
    files.add(name, new Uint8Array(contents));
    if (files.missing() > 0) return post("missing", { count: files.missing() });
    use(Dataset.fromFiles(files));
    files = new Files();
  },
  synthetic() {
    use(Dataset.synthetic());
  },
  create(message) {
    stop();
    settings = message.settings;
    const created = new Trainer(data, JSON.stringify(settings));
    trainer?.free();
    trainer = created;
    step = 0;
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
    post("weights", { bytes: trainer.weights() });
  },
  load({ name, contents }) {
    trainer.load(name, new Uint8Array(contents));
    post("loaded", { name });
    show();
  },
};

onmessage = ({ data: message }) => {
  try {
    handlers[message.type](message);
  } catch (error) {
    // A panic has already been shown in the console, and leaves the memory as it was.
    post(error instanceof WebAssembly.RuntimeError ? "fellOver" : "error", { text: sentence(error) });
  }
};

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
    post(error instanceof WebAssembly.RuntimeError ? "fellOver" : "ended", { text: sentence(error) });
  }
}

post("ready");
