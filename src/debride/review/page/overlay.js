// Outlines of labels over planes, drawn on a canvas of their own: the same for volumes and pictures, and for the brush.
import { AXES, plane } from "./parts.js";

// Colours of the report's pictures; each line has a width of its own too, so that no two differ in colour alone.
export const LAYERS = [
  { name: "given", colour: "#d55e00", width: 2 },
  { name: "predicted", colour: "#56b4e9", width: 4 },
  { name: "proposed", colour: "#f0e442", width: 2 },
  { name: "mine", colour: "#f29bd4", width: 4 },
];
const ORDER = ["predicted", "mine", "proposed", "given"], CASING = 1.5, TINT = [240, 228, 66, 70], PAINT = 64;

// What others edited, where one adjudicates.
const OTHERS = ["#00c29a", "#ffffff", "#b39ddb"];

// The layers that are there, with the key and the name of each.
export function layersOf(data, others = []) {
  const named = others.filter(each => each.decision === "edited").map((each, i) => ({ name: `other-${i + 1}`, said: `${each.reader}'s edit`, colour: OTHERS[i % OTHERS.length], width: 3 }));
  return [...LAYERS, ...named].map((layer, i) => ({ said: layer.name, ...layer, key: i + 1 })).filter(layer => !data || data.layers[layer.name]);
}

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.shown = { given: true, predicted: true, proposed: true, mine: true };
    this.paths = new Map();
    this.pen = null;
  }

  load(data, layers = LAYERS) {
    this.data = data;
    this.lines = layers.toSorted((one, other) => ORDER.indexOf(one.name) - ORDER.indexOf(other.name));
    this.paths.clear();
  }

  // After the brush painted on a layer.
  repaint(name) {
    for (const key of this.paths.keys()) if (key.startsWith(name) || key.startsWith("tint")) this.paths.delete(key);
  }

  cached(name, axis, index, make) {
    const key = `${name} ${axis} ${index}`;
    if (!this.paths.has(key)) {
      if (this.paths.size > 200) this.paths.clear();
      this.paths.set(key, make());
    }
    return this.paths.get(key);
  }

  draw(tiles, { width, height }, painting) {
    const canvas = this.canvas, brush = canvas.getContext("2d");
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.clearRect(0, 0, width, height);
    if (!this.data) return;
    const scale = devicePixelRatio || 1;
    for (const tile of tiles) {
      brush.save();
      brush.beginPath();
      brush.rect(...tile.clip);
      brush.clip();
      this.tint(brush, tile, painting);
      const lines = this.lines.filter(layer => this.shown[layer.name] !== false && this.data.layers[layer.name]).map(layer => {
        const path = new Path2D();
        path.addPath(this.cached(layer.name, tile.axis, tile.index, () => this.outline(layer.name, tile)), new DOMMatrix(tile.matrix));
        return [path, layer];
      });
      brush.lineJoin = brush.lineCap = "round";
      brush.strokeStyle = "#000000b0";
      for (const [path, layer] of lines) {
        brush.lineWidth = scale * (layer.width + CASING);
        brush.stroke(path);
      }
      for (const [path, layer] of lines) {
        brush.strokeStyle = layer.colour;
        brush.lineWidth = scale * layer.width;
        brush.stroke(path);
      }
      if (tile.cross) cross(brush, tile, scale);
      if (this.pen && this.pen.axis === tile.axis) ring(brush, tile, this.pen, scale);
      brush.restore();
    }
  }

  outline(name, { axis, index }) {
    const { layers, shape } = this.data, [u, v] = AXES[axis];
    return edges(plane(layers[name], shape, axis, index), shape[u], shape[v]);
  }

  // What the proposal changes, or what is painted while editing.
  tint(brush, tile, painting) {
    const { layers } = this.data, over = painting ? "mine" : "proposed";
    if (!this.shown[over] || !layers[over] || (!painting && layers.mine)) return;
    const mark = this.cached("tint", tile.axis, tile.index, () => this.changed(tile, over, painting));
    brush.setTransform(...tile.matrix);
    brush.imageSmoothingEnabled = false;
    brush.drawImage(mark, 0, 0);
    brush.setTransform(1, 0, 0, 1, 0, 0);
  }

  changed({ axis, index }, over, colours) {
    const { layers, shape } = this.data, [u, v] = AXES[axis];
    const next = plane(layers[over], shape, axis, index), before = plane(layers.given, shape, axis, index);
    const mark = new OffscreenCanvas(shape[u], shape[v]), pixels = new ImageData(shape[u], shape[v]);
    for (let i = 0; i < next.length; i++) {
      if (colours ? colours[next[i]] : next[i] !== before[i]) pixels.data.set(colours ? [...colours[next[i]], PAINT] : TINT, 4 * i);
    }
    mark.getContext("2d").putImageData(pixels, 0, 0);
    return mark;
  }
}

// The edges of pixels between two classes, as lines that run as far as they are straight. 255 is no label, as 0 is none.
function edges(labels, width, height) {
  const path = new Path2D(), at = (x, y) => {
    if (x < 0 || y < 0 || x >= width || y >= height) return -1;
    const label = labels[y * width + x];
    return label === 255 ? 0 : label;
  };
  const differ = (one, other) => one !== other && (one > 0 || other > 0) && (one !== -1 && other !== -1);
  for (let y = 1; y < height; y++) {
    for (let x = 0, from = -1; x <= width; x++) {
      const edge = x < width && differ(at(x, y), at(x, y - 1));
      if (edge && from < 0) from = x;
      if (!edge && from >= 0) {
        path.moveTo(from, y);
        path.lineTo(x, y);
        from = -1;
      }
    }
  }
  for (let x = 1; x < width; x++) {
    for (let y = 0, from = -1; y <= height; y++) {
      const edge = y < height && differ(at(x, y), at(x - 1, y));
      if (edge && from < 0) from = y;
      if (!edge && from >= 0) {
        path.moveTo(x, from);
        path.lineTo(x, y);
        from = -1;
      }
    }
  }
  return path;
}

function cross(brush, { cross: [x, y], clip: [left, top, width, height] }, scale) {
  const gap = 9 * scale;
  brush.beginPath();
  for (const [fromX, fromY, toX, toY] of [[left, y, x - gap, y], [x + gap, y, left + width, y], [x, top, x, y - gap], [x, y + gap, x, top + height]]) {
    brush.moveTo(fromX, fromY);
    brush.lineTo(toX, toY);
  }
  brush.lineWidth = scale;
  brush.strokeStyle = "#ffffff80";
  brush.stroke();
}

function ring(brush, tile, { u, v, radius: [across, along] }, scale) {
  const path = new Path2D(), circle = new Path2D();
  circle.ellipse(u, v, across, along, 0, 0, 2 * Math.PI);
  path.addPath(circle, new DOMMatrix(tile.matrix));
  for (const [colour, width] of [["#000000b0", 3], ["#ffffff", 1.5]]) {
    brush.strokeStyle = colour;
    brush.lineWidth = width * scale;
    brush.stroke(path);
  }
}
