// Reads JSON lines, each {markdown, plain: [text, …]}, and writes one JSON line for each: what several renderers make of it.
// [{by, elements: ["p", "a href", …], text}]; `plain` is put into a page as HTML, as by a client that takes a summary for HTML.

import { createInterface } from "node:readline";
import * as commonmark from "commonmark";
import MarkdownIt from "markdown-it";
import { marked } from "marked";
import { parseFragment } from "parse5";
import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import ReactMarkdown from "react-markdown";
import rehypeRaw from "rehype-raw";
import remarkGfm from "remark-gfm";

const parser = new commonmark.Parser();
const writer = new commonmark.HtmlRenderer();
const markdownIt = new MarkdownIt({ html: true }); // tables and strikethrough are on by default

const renderers = {
  // as the public CDS Hooks sandbox does
  "react-markdown": (text) =>
    renderToStaticMarkup(
      createElement(ReactMarkdown, { remarkPlugins: [remarkGfm], rehypePlugins: [rehypeRaw], urlTransform: (url) => url }, text),
    ),
  commonmark: (text) => writer.render(parser.parse(text)),
  "markdown-it": (text) => markdownIt.render(text),
  "marked (GFM)": (text) => marked.parse(text, { gfm: true, async: false }),
};

function looked(by, html) {
  const elements = [];
  let text = "";
  const walk = (node) => {
    if (node.nodeName === "#text") text += node.value;
    else if (node.nodeName !== "#document-fragment") elements.push([node.nodeName, ...(node.attrs ?? []).map((one) => one.name)].join(" "));
    for (const child of node.childNodes ?? node.content?.childNodes ?? []) walk(child);
  };
  walk(parseFragment(html));
  return { by, elements, text };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { markdown, plain } = JSON.parse(line);
  const drawn = Object.entries(renderers).map(([by, render]) => looked(by, render(markdown)));
  process.stdout.write(JSON.stringify([...drawn, ...plain.map((text) => looked("as HTML", text))]) + "\n");
}
