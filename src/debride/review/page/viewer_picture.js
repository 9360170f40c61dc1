// A picture on a plain canvas: one plane, with window and level, zoomed by the wheel.
export class PictureViewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.drawn = () => {};
  }

  async show(data) {
    this.data = data;
    this.window = [...data.window];
    this.picture = null;
    this.home();
  }

  home() {
    this.zoom = { scale: 1, x: 0, y: 0 };
    this.redraw();
  }

  make() {
    const { shape: [width, height], image, rgb } = this.data, pixels = new ImageData(width, height), [low, high] = this.window;
    const scale = 255 / Math.max(1e-9, high - low), whole = rgb && low === 0 && high === 255;
    for (let i = 0, o = 0; i < width * height; i++, o += 4) {
      for (let k = 0; k < 3; k++) {
        const value = rgb ? image[3 * i + k] : image[i];
        pixels.data[o + k] = whole ? value : (value - low) * scale;
      }
      pixels.data[o + 3] = 255;
    }
    this.picture = new OffscreenCanvas(width, height);
    this.picture.getContext("2d").putImageData(pixels, 0, 0);
  }

  redraw() {
    const canvas = this.canvas, dense = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * dense), height = Math.round(canvas.clientHeight * dense);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const brush = canvas.getContext("2d");
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.fillStyle = "#000";
    brush.fillRect(0, 0, width, height);
    if (!this.data) return;
    if (!this.picture) this.make();
    brush.setTransform(...this.matrix());
    brush.imageSmoothingEnabled = this.matrix()[0] < 3;
    brush.drawImage(this.picture, 0, 0);
    this.drawn();
  }

  matrix() {
    const { shape: [width, height], spacing } = this.data, canvas = this.canvas;
    const [across, along] = spacing?.length >= 2 ? spacing : [1, 1], flat = along / across;
    const fit = Math.min(canvas.width / width, canvas.height / (height * flat)) * this.zoom.scale;
    const left = (canvas.width - width * fit) / 2 + this.zoom.x, top = (canvas.height - height * fit * flat) / 2 + this.zoom.y;
    return [fit, 0, 0, fit * flat, left, top];
  }

  tiles() {
    if (!this.data) return [];
    return [{ axis: 2, index: 0, matrix: this.matrix(), clip: [0, 0, this.canvas.width, this.canvas.height] }];
  }

  get size() { return { width: this.canvas.width, height: this.canvas.height }; }

  wheel(_tile, by, x, y) {
    const before = this.zoom.scale, after = Math.min(20, Math.max(1, before * (by > 0 ? 1.2 : 1 / 1.2))), share = after / before;
    const { width, height } = this.canvas;
    const moved = (offset, point, side) => after === 1 ? 0 : point - side / 2 - (point - side / 2 - offset) * share;
    this.zoom = { scale: after, x: moved(this.zoom.x, x, width), y: moved(this.zoom.y, y, height) };
    this.redraw();
  }

  drag(dx, dy) {
    if (this.zoom.scale === 1) return;
    this.zoom.x += dx;
    this.zoom.y += dy;
    this.redraw();
  }

  step() { /* one plane alone */ }

  setWindow(low, high) {
    this.window = [low, Math.max(low + 1e-6, high)];
    this.picture = null;
    this.redraw();
  }
}
