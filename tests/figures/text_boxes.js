// What is written in a drawing of plotly: texts that lie on each other, that leave the drawing, and their sizes.
(drawing) => {
  const seen = (text) => {
    const style = getComputedStyle(text);
    return text.textContent.trim() && style.visibility !== "hidden" && +style.opacity > 0 && !text.closest(".hoverlayer, .modebar");
  };
  const boxes = [];
  for (const text of [...drawing.querySelectorAll("svg.main-svg text")].filter(seen)) {
    const lines = text.querySelectorAll(":scope > tspan.line");
    for (const line of lines.length ? lines : [text]) {
      if (!line.textContent.trim()) continue;
      const { left, right, top, bottom } = line.getBoundingClientRect();
      boxes.push({ said: line.textContent, text, left, right, top, bottom, size: parseFloat(getComputedStyle(line).fontSize) });
    }
  }
  const overlaps = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
    const least = Math.min(a.size, b.size);
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    // boxes are a little larger than letters
    if (a.text !== b.text && across > 0.15 * least && down > 0.35 * least) overlaps.push(`${a.said} | ${b.said}`);
  }));
  const whole = drawing.getBoundingClientRect();
  const outside = boxes.filter((b) => b.left < whole.left - 2 || b.right > whole.right + 2 || b.top < whole.top - 2 || b.bottom > whole.bottom + 2);
  return { overlaps, outside: outside.map((b) => b.said), sizes: [...new Set(boxes.map((b) => b.size))] };
}
