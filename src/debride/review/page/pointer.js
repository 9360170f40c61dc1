// The pointer on the viewer: it moves the cross, paints, sets the brightness (right button, or with Shift) and scrolls.
export function listen(canvas, stage) {
  let drag = null, asked = false;
  const at = event => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
  };
  const later = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      stage.over();
    });
  };
  canvas.addEventListener("contextmenu", event => event.preventDefault());
  canvas.addEventListener("pointerdown", event => {
    const [x, y] = at(event), tile = stage.tileAt(x, y);
    if (!tile) return;
    canvas.setPointerCapture(event.pointerId);
    const place = stage.point(tile, x, y);
    const kind = event.button === 2 || event.shiftKey ? "levels" : stage.editing ? "paint" : stage.data.volume ? "cross" : "pan";
    drag = { kind, tile, x, y, place, window: [...stage.viewer.window] };
    if (kind === "paint") {
      stage.brush.press();
      stage.paint(tile, place, place);
      later();
    }
    if (kind === "cross") stage.viewer.press(tile, ...place);
  });
  canvas.addEventListener("pointermove", event => {
    const [x, y] = at(event), tile = drag?.tile ?? stage.tileAt(x, y);
    if (!tile) {
      if (stage.overlay.pen) stage.overlay.pen = null;
      return later();
    }
    const place = stage.point(tile, x, y);
    if (drag?.kind === "paint" && stage.editing) {
      for (const step of event.getCoalescedEvents?.() ?? []) {
        const between = stage.under(tile, ...at(step));
        stage.paint(tile, drag.place, between);
        drag.place = between;
      }
      stage.paint(tile, drag.place, place);
    }
    if (drag?.kind === "cross") stage.viewer.press(tile, ...place);
    if (drag?.kind === "pan") stage.viewer.drag(x - drag.x, y - drag.y);
    if (drag?.kind === "levels") {
      const [low, high] = drag.window, reach = high - low, width = reach * 2 ** ((x - drag.x) / 200);
      const middle = (low + high) / 2 + reach * (y - drag.y) / 400;
      stage.setLevels(middle - width / 2, middle + width / 2);
    }
    if (drag?.kind === "pan") Object.assign(drag, { x, y });
    if (drag) drag.place = place;
    if (stage.editing) later();
  });
  const end = () => {
    if (drag?.kind === "paint") stage.brush.lift();
    drag = null;
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => {
    stage.overlay.pen = null;
    if (stage.editing) later();
  });
  canvas.addEventListener("wheel", event => {
    const [x, y] = at(event), tile = stage.tileAt(x, y);
    if (!tile || event.ctrlKey) return;
    event.preventDefault();
    stage.viewer.wheel(tile, event.deltaY < 0 ? 1 : -1, x, y);
  }, { passive: false });
}
