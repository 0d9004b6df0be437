"use strict";
// Filters the cards; without it all cards are shown.
const [category, value, count] = ["category", "value", "count"].map((id) => document.getElementById(id));
const cards = [...document.querySelectorAll("article")];
function filter() {
  for (const card of cards) {
    const fits = !category.value || card.dataset.category === category.value;
    const has = !value.value || card.dataset.values.split("|").includes(value.value);
    card.hidden = !(fits && has);
  }
  count.textContent = `${cards.filter((card) => !card.hidden).length} of ${cards.length} items`;
}
category.addEventListener("change", filter);
value.addEventListener("change", filter);
document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
filter();
