// NIfTI files of labels (uint8, little endian, without rotation), as the server writes them and NiiVue takes them.
const AT = { length: 0, size: 40, type: 70, bits: 72, spacing: 76, offset: 108, slope: 112, form: 254, affine: 280, magic: 344 };
const UINT8 = 2, START = 352, MAGIC = [110, 43, 49, 0];

// The labels of a NIfTI file of uint8 that the server made: nothing is rotated or scaled in it.
export function unpacked(file) {
  const view = new DataView(file), size = [1, 2, 3].map(i => view.getInt16(AT.size + 2 * i, true));
  if (view.getInt16(AT.type, true) !== UINT8) throw new Error("The labels that came are not of uint8");
  return new Uint8Array(file, view.getFloat32(AT.offset, true), size[0] * size[1] * size[2]);
}

export function nifti(labels, { shape, spacing }) {
  const file = new ArrayBuffer(START + labels.length), view = new DataView(file);
  view.setInt32(AT.length, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((length, i) => view.setInt16(AT.size + 2 * i, length, true));
  view.setInt16(AT.type, UINT8, true);
  view.setInt16(AT.bits, 8, true);
  [1, ...spacing].forEach((step, i) => view.setFloat32(AT.spacing + 4 * i, step, true));
  view.setFloat32(AT.offset, START, true);
  view.setFloat32(AT.slope, 1, true);
  view.setInt16(AT.form, 1, true);
  spacing.forEach((step, i) => view.setFloat32(AT.affine + 20 * i, step, true));
  new Uint8Array(file, AT.magic, 4).set(MAGIC);
  new Uint8Array(file, START).set(labels);
  return file;
}
