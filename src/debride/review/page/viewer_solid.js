// Given and proposed label in 3D, on a canvas of its own: a step through the slices need not wait for it.
import { nifti } from "./nifti.js";
import { library } from "./viewer_volume.js";

// What both say is pale; what the given label has alone and what only the proposal has are in the colours of their outlines.
const COLOURS = { R: [0, 205, 213, 240], G: [0, 205, 94, 228], B: [0, 205, 0, 66], A: [0, 40, 200, 200], I: [0, 1, 2, 3],
  labels: ["", "both", "given", "proposed"] };

export class SolidViewer {
  constructor(canvas) { this.canvas = canvas; }

  async begin() {
    const { Niivue } = await library();
    this.nv = new Niivue({ logLevel: "error", loadingText: "", dragAndDropEnabled: false, show3Dcrosshair: false, crosshairWidth: 0,
      isOrientationTextVisible: false });
    await this.nv.attachToCanvas(this.canvas, false);
    this.nv.setSliceType(this.nv.sliceTypeRender);
  }

  async show(data) {
    this.asked = data;
    await (this.starting ??= this.begin());
    const { NVImage } = await library(), nv = this.nv;
    const { given, label = given, proposed = given, mine } = data.layers, kinds = mine ? compared(label, mine) : compared(given, proposed);
    const solid = await NVImage.new(nifti(kinds, data), "label.nii", "gray", 1);
    if (this.asked !== data) return;
    solid.setColormapLabel(COLOURS);
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    nv.addVolume(solid);
    nv.resizeListener();
  }

  resize() { this.nv?.resizeListener(); }
}

function compared(given, next) {
  const kind = new Uint8Array(given.length), is = value => value !== 0 && value !== 255;
  for (let i = 0; i < kind.length; i++) {
    if (given[i] === next[i]) kind[i] = is(given[i]) ? 1 : 0;
    else kind[i] = is(next[i]) ? 3 : 2;
  }
  return kind;
}
