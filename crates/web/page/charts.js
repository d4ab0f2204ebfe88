// Line charts and small pictures on canvases.

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// Makes the canvas as sharp as the screen; returns its context, width and height in CSS pixels.
function prepare(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width, height };
}

// Numbers between which a scale has its marks: 2 to 5 steps of 1, 2 or 5 times a power of ten.
function marks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => it >= rough);
  const result = [];
  for (let mark = Math.ceil(low / step) * step; mark <= high + step / 1e6; mark += step) {
    result.push(Number(mark.toPrecision(6)));
  }
  return result;
}

// Draws lines of points [x, y], each with a color; `range` is that of y, or undefined.
export function lineChart(canvas, lines, xName, range) {
  const { context, width, height } = prepare(canvas);
  const points = lines.flatMap((line) => line.points);
  const right = Math.max(10, ...points.map(([x]) => x));
  const ys = points.map(([, y]) => y);
  const [low, high] = range ?? [0, Math.max(0.1, ...ys) * 1.05];
  const [left, bottom] = [38, 22];
  const toX = (x) => left + (x / right) * (width - left - 6);
  const toY = (y) => 6 + (1 - (y - low) / (high - low)) * (height - bottom - 6);

  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 1;
  context.strokeStyle = color("--line");
  context.fillStyle = color("--quiet");
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const y of marks(low, high)) {
    context.beginPath();
    context.moveTo(left, toY(y));
    context.lineTo(width - 6, toY(y));
    context.stroke();
    context.fillText(String(y), left - 5, toY(y));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  const xs = marks(0, right);
  xs.forEach((x, index) => {
    const text = index === xs.length - 1 ? `${xName} ${x}` : String(x);
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(toX(x), width - 6 - half), height - bottom + 6);
  });
  context.lineWidth = 2;
  context.lineJoin = "round";
  for (const { points, name, dots } of lines) {
    context.strokeStyle = context.fillStyle = color(name);
    context.beginPath();
    points.forEach(([x, y], index) => {
      const clamped = Math.min(high, Math.max(low, y));
      context[index ? "lineTo" : "moveTo"](toX(x), toY(clamped));
    });
    context.stroke();
    if (dots) {
      for (const [x, y] of points) {
        context.beginPath();
        context.arc(toX(x), toY(Math.min(high, Math.max(low, y))), 3, 0, 7);
        context.fill();
      }
    }
  }
}

// Draws a bar for each value, those of several rows above each other's axes.
export function bars(canvas, rows) {
  const { context, width, height } = prepare(canvas);
  const each = height / rows.length;
  rows.forEach(({ values, name }, row) => {
    const most = Math.max(1e-9, ...values.map(Math.abs));
    const signed = values.some((value) => value < 0);
    const zero = row * each + (signed ? each / 2 : each - 1);
    const scale = (signed ? each / 2 : each) - 3;
    const step = width / values.length;
    context.fillStyle = color(name);
    values.forEach((value, index) => {
      const length = (value / most) * scale;
      const wide = Math.max(1, step - 1);
      context.fillRect(index * step, Math.min(zero, zero - length), wide, Math.abs(length));
    });
    context.fillStyle = color("--line");
    context.fillRect(0, zero, width, 1);
  });
}

// A canvas with a grayscale picture.
export function picture(pixels, [height, width]) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const data = context.createImageData(width, height);
  pixels.forEach((value, index) => data.data.set([value, value, value, 255], index * 4));
  context.putImageData(data, 0, 0);
  return canvas;
}
