// Texts whose contrast to their background is below WCAG's AA: 4.5, or 3 where they are large.
() => {
  const parsed = (color) => {
    const [red, green, blue, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    return { rgb: [red, green, blue], alpha };
  };
  const luminance = (rgb) => {
    const [red, green, blue] = rgb.map((value) =>
      value <= 10.31475 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = (box) => {
    for (; box; box = box.parentElement) {
      const { rgb, alpha } = parsed(getComputedStyle(box).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  const tooWeak = ([box, text]) => {
    const { color, fontSize, fontWeight } = getComputedStyle(box);
    const [light, dark] = [luminance(parsed(color).rgb), luminance(background(box))].sort((a, b) => b - a);
    const large = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700);
    const contrast = (light + 0.05) / (dark + 0.05);
    return contrast < (large ? 3 : 4.5) ? [`${box.className || box.tagName} ${text}: ${contrast.toFixed(2)}`] : [];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const box = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (text && box.checkVisibility({ opacityProperty: true }) && !box.closest(".unseen, noscript")) texts.push([box, text]);
  }
  return texts.flatMap(tooWeak);
}
