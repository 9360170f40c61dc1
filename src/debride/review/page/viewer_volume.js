// A volume in three planes, drawn by NiiVue; what is over it is drawn by the overlay.
import { nifti } from "./nifti.js";
import { AXES } from "./parts.js";

const PLANES = { 2: 0, 1: 1, 0: 2 };  // NiiVue's number of the plane across each array axis: axial, coronal, sagittal
export const NAMES = ["sagittal", "coronal", "axial"];
const GRID = 2;
let loading;

// The library is read when the first volume is shown.
export function library() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = "static/vendor/niivue.umd.js";
    script.addEventListener("load", () => done(globalThis.niivue));
    script.addEventListener("error", () => failed(new Error("NiiVue could not be loaded")));
    document.head.append(script);
  });
  return loading;
}

export class VolumeViewer {
  constructor(canvas) {
    this.canvas = canvas;
    this.axis = 2;
    this.single = this.grid = false;
    this.drawn = () => {};
  }

  ready() { return this.starting ??= this.begin(); }

  async begin() {
    const { Niivue, NVImage } = await library();
    this.nv = new Niivue({ logLevel: "error", loadingText: "", dragAndDropEnabled: false, interactive: false, multiplanarShowRender: 0,
      crosshairWidth: 0, isRadiologicalConvention: true, sagittalNoseLeft: true, isNearestInterpolation: true, multiplanarPadPixels: 4,
      fontSizeScaling: 0.3, fontColor: [0.75, 0.75, 0.75, 1] });
    await this.nv.attachToCanvas(this.canvas, false);
    // What the first image needs is made ready while that is on its way.
    this.nv.addVolume(await NVImage.new(nifti(new Uint8Array(64), { shape: [4, 4, 4], spacing: [1, 1, 1] }), "none.nii", "gray", 1, null, 0, 1, true));
    this.nv.gl.finish();
    const draw = this.nv.drawScene.bind(this.nv);
    this.nv.drawScene = (...values) => {
      draw(...values);
      this.drawn();
    };
  }

  async show(data) {
    this.asked = data;
    await this.ready();
    const { NVImage } = await library(), nv = this.nv;
    const [low, high] = data.window;
    const volume = await NVImage.new(data.image, "image.nii", "gray", 1, null, low, high, true);
    if (this.asked !== data) return;  // a smaller one that was asked for later is there already
    this.data = null;
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    nv.addVolume(volume);
    this.data = data;
    this.axis = sharpest(data.spacing);
    this.window = [low, high];
    this.jump(data.at);
  }

  // To the middle of a voxel.
  jump(voxel) {
    this.at = voxel.map((place, axis) => Math.min(this.data.shape[axis] - 1, Math.max(0, Math.floor(place))));
    this.nv.scene.crosshairPos = this.at.map((place, axis) => (place + 0.5) / this.data.shape[axis]);
    this.redraw();
  }

  home() { this.jump(this.data.at); }

  redraw() {
    if (!this.data) return;
    this.nv.opts.multiplanarLayout = this.grid ? GRID : 0;
    this.nv.opts.sliceType = this.single ? PLANES[this.axis] : 3;
    this.nv.drawScene();
  }

  get size() { return { width: this.canvas.width, height: this.canvas.height }; }

  tiles() {
    if (!this.data) return [];
    return this.nv.screenSlices.map((slice, i) => this.tile(slice, i)).filter(Boolean);
  }

  // Where the voxels of a plane lie on the canvas, read off NiiVue at three points of it: flips and zooms are in it.
  tile({ axCorSag, leftTopWidthHeight: [left, top, width, height] }, i) {
    const axis = { 0: 2, 1: 1, 2: 0 }[axCorSag];
    if (axis === undefined || !width || !height) return null;
    const [u, v] = AXES[axis], { shape } = this.data;
    const [x, y] = [left + width / 4, top + height / 4];
    const [first, across, along] = [[x, y], [x + width / 2, y], [x, y + height / 2]].map(([px, py]) => this.nv.screenXY2TextureFrac(px, py, i, false));
    const a = width / 2 / ((across[u] - first[u]) * shape[u]), d = height / 2 / ((along[v] - first[v]) * shape[v]);
    const matrix = [a, 0, 0, d, x - a * first[u] * shape[u], y - d * first[v] * shape[v]];
    const cross = [matrix[0] * (this.at[u] + 0.5) + matrix[4], matrix[3] * (this.at[v] + 0.5) + matrix[5]];
    return { axis, index: this.at[axis], matrix, clip: [left, top, width, height], cross };
  }

  step(by, axis = this.axis) {
    this.jump(this.at.map((place, side) => side === axis ? place + by : place));
  }

  wheel(tile, by) { this.step(by, tile.axis); }

  press(tile, u, v) {
    this.axis = tile.axis;
    const to = [...this.at];
    [to[AXES[tile.axis][0]], to[AXES[tile.axis][1]]] = [u, v];
    this.jump(to);
  }

  setWindow(low, high) {
    this.window = [low, Math.max(low + 1e-6, high)];
    const [volume] = this.nv.volumes;
    [volume.cal_min, volume.cal_max] = this.window;
    this.nv.updateGLVolume();
    this.redraw();
  }
}

// The axis across the planes with the finest voxels.
function sharpest(spacing) {
  return spacing.indexOf(Math.max(...spacing)) === 2 || Math.max(...spacing) < 1.5 * Math.min(...spacing) ? 2 : spacing.indexOf(Math.max(...spacing));
}
