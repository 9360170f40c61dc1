// A brush on the planes of a label: strokes of discs, and undo of whole strokes.
import { AXES, strides } from "./parts.js";

const LARGEST = 60, STROKES = 200;
export const IGNORE = 255;  // no label is known there, and none can be painted

export class Brush {
  constructor() {
    this.size = 5;
    this.paints = 1;
    this.erases = false;
    this.strokes = [];
    this.many = 0;  // strokes that are painted, also those too old to be undone
  }

  begin(labels, shape, spacing) {
    Object.assign(this, { labels, shape, spacing: [...spacing, 1, 1].slice(0, 3), strokes: [], many: 0 });
  }

  get value() { return this.erases ? 0 : this.paints; }

  grow(by) { this.size = Math.min(LARGEST, Math.max(1, this.size + by)); }

  // Half axes in voxels of a disc that is round in mm, `size` voxels of the finer side across.
  radius(axis) {
    const [u, v] = AXES[axis].map(side => this.spacing[side]), fine = Math.min(u, v), half = this.size / 2;
    return [half * fine / u, half * fine / v].map(side => Math.max(0.5, side));
  }

  press() { this.stroke = new Map(); }

  // Paints from one place of a plane to another; places are in voxels, edges at whole numbers.
  line({ axis, index }, from, to) {
    const [across, along] = this.radius(axis), length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const steps = Math.max(1, Math.ceil(length / Math.max(0.5, Math.min(across, along) / 2)));
    for (let i = 0; i <= steps; i++) {
      this.disc(axis, index, from[0] + (to[0] - from[0]) * i / steps, from[1] + (to[1] - from[1]) * i / steps, across, along);
    }
  }

  disc(axis, index, u, v, across, along) {
    const [one, other] = AXES[axis], step = strides(this.shape), start = index * step[axis];
    const middle = Math.floor(v) * this.shape[one] + Math.floor(u);
    for (let y = Math.max(0, Math.floor(v - along)); y <= Math.min(this.shape[other] - 1, v + along); y++) {
      for (let x = Math.max(0, Math.floor(u - across)); x <= Math.min(this.shape[one] - 1, u + across); x++) {
        const inside = ((x + 0.5 - u) / across) ** 2 + ((y + 0.5 - v) / along) ** 2 <= 1;
        if (!inside && y * this.shape[one] + x !== middle) continue;
        const place = start + x * step[one] + y * step[other], before = this.labels[place];
        if (before === this.value || before === IGNORE) continue;
        if (!this.stroke.has(place)) this.stroke.set(place, before);
        this.labels[place] = this.value;
      }
    }
  }

  lift() {
    if (this.stroke?.size) {
      this.strokes.push(this.stroke);
      this.many += 1;
    }
    if (this.strokes.length > STROKES) this.strokes.shift();
    this.stroke = null;
  }

  undo() {
    const stroke = this.strokes.pop();
    if (!stroke) return false;
    this.many -= 1;
    for (const [place, before] of stroke) this.labels[place] = before;
    return true;
  }
}
