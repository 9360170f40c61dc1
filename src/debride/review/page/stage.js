// The viewer of one item: which part is shown, what is over it, and the brush.
import { $, option, redraw, text } from "./elements.js";
import { AXES, voxels } from "./parts.js";
import { Overlay, layersOf } from "./overlay.js";
import { PictureViewer } from "./viewer_picture.js";
import { NAMES, VolumeViewer } from "./viewer_volume.js";
import { SolidViewer } from "./viewer_solid.js";
import { Brush, IGNORE } from "./brush.js";
import { listen } from "./pointer.js";

export class Stage {
  constructor(about, told) {
    Object.assign(this, { about, told, whole: false, channel: 0, solid: false, data: null });
    this.volume = new VolumeViewer($("planes"));
    this.flat = new PictureViewer($("picture"));
    this.solidViewer = new SolidViewer($("solid"));
    this.overlay = new Overlay($("over"));
    this.brush = new Brush();
    this.viewer = about.ndim === 3 ? this.volume : this.flat;
    if (about.ndim === 3) this.volume.ready().catch(error => told(error.message));
    this.volume.drawn = this.flat.drawn = () => this.over();
    this.colours = [null, ...Array(255).fill(null)];
    about.classes.forEach(each => { if (each.id) this.colours[each.id] = rgb(each.colour); });
    this.layerBoxes();
    this.brushForm();
    this.levelForm();
    listen($("over"), this);
    new ResizeObserver(() => this.viewer.redraw()).observe($("stage"));
  }

  // Everything of the part that is asked for, beside the last one until it is there.
  async show(item) {
    this.item = item;
    const part = this.whole ? "whole" : "crop", asked = `${item.place} ${part} ${this.channel}`;
    this.asked = asked;
    $("busy").hidden = false;
    try {
      const loaded = await voxels(item.place, part, this.channel);
      if (this.asked !== asked) return;
      this.data = { ...loaded, layers: this.editing ? this.beside(loaded.layers) : { ...loaded.layers } };
      await this.present(asked);
    } catch (error) {
      if (this.asked === asked) this.fail(error);
    }
  }

  // What is being painted stays, whatever comes meanwhile of the same part: another channel, or an answer to what was saved.
  beside(layers) {
    this.kept = layers.mine;
    return { ...layers, mine: this.data.layers.mine };
  }

  async present(asked) {
    const { data } = this, viewer = data.volume ? this.volume : this.flat;
    $("planes").hidden = !data.volume;
    $("picture").hidden = data.volume;
    document.body.classList.toggle("volumes", data.volume);
    this.overlay.load(data, layersOf(data, this.item.others));
    this.viewer = viewer;
    $("solid").style.visibility = "hidden";
    await viewer.show(data);
    if (this.asked !== asked) return;
    text("warning", data.warning || "");
    $("over").setAttribute("aria-label", `${this.item.case}: the image with the outlines of its labels`);
    this.layerBoxes();
    this.levels();
    $("busy").hidden = true;
    $("stage").dataset.shown = asked;
    if (this.solid) setTimeout(() => this.showSolid(), 50);
  }

  // Whether the item is in view, or cannot be shown.
  get seen() { return $("busy").hidden; }

  fail(error) {
    $("solid").style.visibility = "hidden";
    this.data = null;
    this.overlay.load(null);
    this.overlay.draw([], this.overlay.canvas);
    $("busy").hidden = $("planes").hidden = $("picture").hidden = true;  // no other image stays in view
    $("stage").dataset.shown = "";
    text("warning", `This cannot be shown: ${error.message}`);
  }

  ahead(place) { if (place && !this.whole) voxels(place, this.whole ? "whole" : "crop", this.channel).catch(() => {}); }

  over() {
    if (!this.data) return;
    this.overlay.draw(this.viewer.tiles(), this.viewer.size, this.editing ? this.colours : null);
    const { at, axis } = this.volume;
    if (this.data.volume && at) {
      const start = this.data.start?.[axis] ?? 0, all = this.data.whole?.[axis] ?? this.data.shape[axis];
      this.placeSolid();
      text("slice", `${NAMES[axis]} slice ${start + at[axis] + 1} of ${all}`);
    }
  }

  redraw() { if (this.data) this.viewer.redraw(); }

  // Outlines.
  layerBoxes() {
    const boxes = layersOf(this.data, this.item?.others).map(layer => {
      const label = document.createElement("label"), box = document.createElement("input"), line = document.createElement("i");
      const key = document.createElement("kbd");
      Object.assign(box, { type: "checkbox", checked: this.overlay.shown[layer.name] !== false, name: layer.name });
      box.addEventListener("change", () => this.toggle(layer.name, box.checked));
      line.style.background = layer.colour;
      line.style.height = `${layer.width + 1}px`;
      key.textContent = layer.key;
      label.append(box, line, ` ${layer.said} `, key);
      return label;
    });
    redraw($("layers"), [$("layers").firstElementChild, ...boxes], box => box.name);
  }

  toggleKey(key) {
    const layer = layersOf(this.data, this.item?.others).find(each => each.key === Number(key));
    if (layer) this.toggle(layer.name);
  }

  toggle(name, to = this.overlay.shown[name] === false) {
    this.overlay.shown[name] = to;
    const box = $("layers").querySelector(`[name="${name}"]`);
    if (box) box.checked = to;
    this.redraw();
  }

  toggleWhole() {
    if (this.dirty) return this.told("Save the edit (s) or leave it (Esc) first");
    this.stopEdit();
    this.whole = !this.whole;
    pressed("w", this.whole);
    if (this.item) this.show(this.item);
  }

  togglePlane() {
    this.volume.single = !this.volume.single;
    pressed("o", this.volume.single);
    this.redraw();
  }

  toggleSolid() {
    this.solid = !this.solid;
    $("corner").hidden = !this.solid;
    this.volume.grid = this.solid;
    this.redraw();
    pressed("d", this.solid);
    if (this.solid && this.data?.volume) this.showSolid();
  }

  // In the empty quarter beside three planes, or in a corner of one.
  placeSolid() {
    const tiles = this.volume.tiles(), [axial, side] = [2, 0].map(axis => tiles.find(tile => tile.axis === axis)), scale = devicePixelRatio || 1;
    const free = axial && side && axial.clip[1] >= side.clip[1] + side.clip[3] && side.clip[0] >= axial.clip[0] + axial.clip[2];
    const box = free ? [side.clip[0], axial.clip[1], side.clip[2], axial.clip[3]].map(length => `${length / scale}px`) : ["70%", "64%", "30%", "36%"];
    if (this.solidBox === box.join()) return;
    this.solidBox = box.join();
    ["left", "top", "width", "height"].forEach((side, i) => { $("corner").style[side] = box[i]; });
    if (this.solid) this.solidViewer.resize();
  }

  // The last one is out of view until this is drawn, which may take seconds.
  showSolid() {
    const { data } = this;
    if (!data?.volume) return;
    this.solidViewer.show(data).then(() => { if (this.data === data) $("solid").style.visibility = "visible"; }, error => this.told(error.message));
  }

  home() {
    if (!this.data) return;
    this.viewer.home();
  }

  // Brightness.
  levelForm() {
    for (const id of ["low", "high"]) $(id).addEventListener("input", () => this.setLevels(Number($("low").value), Number($("high").value)));
    $("levels").addEventListener("submit", event => event.preventDefault());
    $("channels").hidden = !(this.about.channels?.length > 1);
    (this.about.channels ?? []).forEach((name, i) => $("channel").append(option(i, name)));
    $("channel").addEventListener("change", () => {
      this.channel = Number($("channel").value);
      if (this.item) this.show(this.item);
    });
  }

  setLevels(low, high) {
    if (!this.data) return;
    this.viewer.setWindow(Math.min(low, high), Math.max(low, high));
    [$("low").value, $("high").value] = this.viewer.window;
  }

  levels() {
    const [low, high] = this.data.window, reach = Math.max(1e-6, high - low);
    for (const [id, value] of [["low", low], ["high", high]]) {
      Object.assign($(id), { min: low - reach / 2, max: high + reach, step: reach / 200 });
      $(id).value = value;
    }
  }

  // Editing.
  brushForm() {
    this.about.classes.forEach(each => $("paints").append(option(each.id, each.name)));
    $("brushes").addEventListener("submit", event => event.preventDefault());
    $("paints").addEventListener("change", () => {
      this.brush.paints = Number($("paints").value);
      this.erase(false);
    });
    $("erases").addEventListener("change", () => this.erase($("erases").checked));
    $("brush").addEventListener("input", () => this.resize(Number($("brush").value) - this.brush.size));
    $("base").addEventListener("change", () => this.begin($("base").value));
    $("discard").addEventListener("click", () => this.leaveEdit());
    this.resize(0);
  }

  get dirty() { return Boolean(this.editing && (this.brush.many || this.editing !== this.first)); }

  startEdit() {
    if (!this.data || this.editing) return;
    const { layers } = this.data;
    const bases = ["mine", "label", "given", "proposed", "predicted"].filter(name => layers[name] && !(layers.label && !["mine", "label"].includes(name)));
    this.kept = layers.mine;
    $("base").replaceChildren(...bases.map(name => option(name, { mine: "my last edit", label: "given" }[name] ?? name)));
    this.first = bases[0];
    this.begin(bases[0]);
    const owner = this.about.classes.find(each => each.id > 0 && each.name === this.item.class) ?? this.about.classes.find(each => each.id > 0);
    if (owner) this.paintWith(owner.id);
    this.erase(false);
    $("brushes").hidden = false;
    document.body.classList.add("editing");
    pressed("e", true);
    this.layerBoxes();
  }

  begin(name) {
    const source = name === "mine" ? this.kept : this.data.layers[name];
    this.editing = name;
    $("base").value = name;
    const { given, label = given } = this.data.layers;
    this.data.layers.mine = source.map((id, i) => label[i] === IGNORE ? IGNORE : id);
    this.overlay.load(this.data, layersOf(this.data, this.item.others));
    this.overlay.shown.mine = true;
    this.brush.begin(this.data.layers.mine, this.data.shape, this.data.spacing ?? []);
    this.painted();
  }

  painted() {
    this.overlay.repaint("mine");
    this.redraw();
  }

  stopEdit() {
    if (!this.editing) return;
    this.editing = null;
    if (this.kept) this.data.layers.mine = this.kept;
    else delete this.data.layers.mine;
    this.overlay.pen = null;
    $("brushes").hidden = true;
    document.body.classList.remove("editing");
    pressed("e", false);
    this.layerBoxes();
    this.painted();
  }

  leaveEdit() {
    if (this.dirty && !confirm("Leave the edit without saving it?")) return;
    this.stopEdit();
  }

  // The edited labels, for saving; they stay in view as "mine".
  takeEdit() {
    this.kept = this.data.layers.mine;
    this.stopEdit();
    return this.kept;
  }

  undoStroke() {
    if (!this.brush.undo()) this.told("Nothing more to undo in this edit");
    this.painted();
  }

  erase(to = !this.brush.erases) {
    this.brush.erases = to;
    $("erases").checked = to;
  }

  paintWith(id) {
    this.brush.paints = id;
    $("paints").value = id;
  }

  nextClass() {
    const ids = this.about.classes.map(each => each.id).filter(id => id > 0);
    this.erase(false);
    this.paintWith(ids[(ids.indexOf(this.brush.paints) + 1) % ids.length]);
  }

  resize(by) {
    this.brush.grow(by);
    $("brush").value = this.brush.size;
    text("brushsize", this.brush.size);
    if (this.overlay.pen) this.overlay.pen.radius = this.brush.radius(this.overlay.pen.axis);
    this.over();
  }

  // What the pointer does; places are in pixels of the canvas.
  tileAt(x, y) {
    return this.data && this.viewer.tiles().find(({ clip: [left, top, width, height] }) =>
      x >= left && x < left + width && y >= top && y < top + height);
  }

  under(tile, x, y) {
    const [a, , , d, e, f] = tile.matrix;
    return [(x - e) / a, (y - f) / d];
  }

  point(tile, x, y) {
    const [u, v] = this.under(tile, x, y);
    this.overlay.pen = this.editing ? { axis: tile.axis, u, v, radius: this.brush.radius(tile.axis) } : null;
    return [u, v];
  }

  paint(tile, from, to) {
    const { shape } = this.data, [one, other] = AXES[tile.axis];
    const inside = ([u, v]) => u >= 0 && v >= 0 && u < shape[one] && v < shape[other];
    if (!inside(from) && !inside(to)) return;
    this.brush.line(tile, from, to);
    this.overlay.repaint("mine");
  }
}

function pressed(key, on) {
  document.querySelectorAll(`[data-key="${key}"][aria-pressed]`).forEach(button => button.setAttribute("aria-pressed", on));
}

function rgb(colour) { return [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16)); }
