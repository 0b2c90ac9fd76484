"use strict";
// The small functions that all parts of the page use: elements, escaping, words, numbers as text. Knows no flow.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const REDUCED = matchMedia("(prefers-reduced-motion: reduce)");

// Text from the document is never markup: `h` escapes every value that it did not make itself.
const ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"};
const esc = text => String(text).replace(/[&<>"']/g, c => ENTITIES[c]);
class Safe {
  constructor(markup) { this.markup = markup; }
  toString() { return this.markup; }
}
function flat(value) {
  if (value == null || value === false) return "";
  if (Array.isArray(value)) return value.map(flat).join("");
  return value instanceof Safe ? value.markup : esc(value);
}
const h = (parts, ...values) => new Safe(parts.reduce((done, part, i) => done + flat(values[i - 1]) + part));
const raw = markup => new Safe(markup);
const fill = (element, markup) => { element.innerHTML = flat(markup); };

// All words of the page stand in one table (words.json); `t` puts values into one of them.
const WORDS = JSON.parse($("#words").textContent);
function t(key, values = {}) {
  if (!(key in WORDS)) throw new Error(`no word ${key}`);
  return WORDS[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
const count = (key, n) => t(n === 1 ? `${key}_one` : `${key}_many`, {n});

const DOC = JSON.parse($("#data").textContent);
const FORMAT = 1;

const short = (text, n) => text.length > n ? text.slice(0, Math.max(1, n - 1)) + "…" : text;
const trimmed = digits => digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
function duration(ns) {
  if (ns < 999_950) return `${trimmed((ns / 1e3).toFixed(1))} µs`;
  if (ns < 999_950_000) return `${trimmed((ns / 1e6).toFixed(2))} ms`;
  return `${trimmed((ns / 1e9).toFixed(3))} s`;
}
const bare = name => name.replace(/^default\//, "");
