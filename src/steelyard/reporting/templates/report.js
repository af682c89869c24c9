"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { candidates, samples, tasks, texts } = data;
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  /** A new element with a class and text; text is always text, never markup. */
  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // ------------------------------------------------------------------------------------------ copying
  function copyText(text, source) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    const done = document.execCommand("copy");
    return done ? Promise.resolve() : Promise.reject(new Error("copy refused"));
  }
  for (const block of all(".code")) {
    const button = make("button", "", "Copy");
    const pre = block.querySelector("pre");
    button.type = "button";
    button.addEventListener("click", async () => {
      try {
        await copyText(pre.textContent, pre);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select and copy";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1600);
    });
    block.append(button);
  }

  // ------------------------------------------------------------------------------------------ sorting
  function sortTable(table, column, heading) {
    const ascending = heading.getAttribute("aria-sort") === "descending" ||
      (!heading.hasAttribute("aria-sort") && heading.dataset.kind !== "number");
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sign = ascending ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[column];
      if (heading.dataset.kind === "text") return cell.textContent.trim();
      return cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
    };
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null); // the unmeasured stay last
      return sign * (typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((heading, column) => {
      const button = make("button", "", heading.textContent.trim());
      button.type = "button";
      heading.replaceChildren(button);
      button.addEventListener("click", () => sortTable(table, column, heading));
    });
  }

  // ------------------------------------------------------------------------------------- plot: tooltips
  const tooltip = byId("tooltip");
  function showTooltip(point) {
    const candidate = candidates[Number(point.dataset.index)];
    tooltip.replaceChildren(make("b", "", candidate.label), ...candidate.lines.map((line) => make("span", "", line)));
    tooltip.hidden = false;
    const dot = point.querySelector(".dot").getBoundingClientRect();
    const box = tooltip.getBoundingClientRect();
    const left = Math.min(Math.max(dot.left + dot.width / 2 - box.width / 2, 8), document.documentElement.clientWidth - box.width - 8);
    const above = dot.top - box.height - 10;
    tooltip.style.left = `${left + window.scrollX}px`;
    tooltip.style.top = `${(above > 8 ? above : dot.bottom + 10) + window.scrollY}px`;
  }
  function hideTooltip() { tooltip.hidden = true; }

  // ------------------------------------------------------------------------------------ selecting a system
  const points = all("a.pt");
  const selection = byId("selection");
  function select(index) {
    for (const element of all("[data-index]")) element.classList.toggle("selected", Number(element.dataset.index) === index);
    if (selection) {
      const link = make("a", "", "see its samples");
      link.href = "#samples";
      selection.replaceChildren("Selected: ", make("b", "", candidates[index].label), samples.length ? " · " : "", samples.length ? link : "");
      selection.hidden = false;
    }
    if (browser) browser.choose(index);
  }
  for (const point of points) {
    point.querySelector("title").remove(); // the tooltip below takes its place
    point.addEventListener("mouseenter", () => showTooltip(point));
    point.addEventListener("mouseleave", hideTooltip);
    point.addEventListener("focus", () => showTooltip(point));
    point.addEventListener("blur", hideTooltip);
    point.addEventListener("click", (event) => {
      event.preventDefault();
      select(Number(point.dataset.index));
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && tooltip) hideTooltip(); });

  // ------------------------------------------------------------------------- two texts, word by word
  const WORD = /\s+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+|[^\s]/gu;
  const CELLS = 4e6; // the table of common subsequences may have this many cells

  /** Both texts as lists of [words, whether the other lacks them], by a longest common subsequence of words. */
  function compareWords(first, second) {
    const [a, b] = [first.match(WORD) ?? [], second.match(WORD) ?? []];
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const [n, m] = [a.length - start - end, b.length - start - end];
    const [onlyA, onlyB] = [new Array(a.length).fill(false), new Array(b.length).fill(false)];
    onlyA.fill(true, start, start + n);
    onlyB.fill(true, start, start + m);
    const exact = n * m <= CELLS;
    if (exact) {
      const width = m + 1; // longest[i * width + j]: common words of a from i and b from j, within the middle
      const longest = new Uint16Array((n + 1) * width);
      for (let i = n - 1; i >= 0; i -= 1) {
        for (let j = m - 1; j >= 0; j -= 1) {
          longest[i * width + j] = a[start + i] === b[start + j] ? longest[(i + 1) * width + j + 1] + 1 :
            Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
        }
      }
      for (let i = 0, j = 0; i < n && j < m;) {
        if (a[start + i] === b[start + j]) {
          onlyA[start + i] = onlyB[start + j] = false;
          i += 1;
          j += 1;
        } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i += 1;
        else j += 1;
      }
    }
    return { first: runs(a, onlyA), second: runs(b, onlyB), exact };
  }

  function runs(words, only) {
    const found = [];
    words.forEach((word, place) => {
      const last = found[found.length - 1];
      // a space between two marked words is marked with them
      const alone = only[place] || (/^\s+$/.test(word) && only[place - 1] && only[place + 1]);
      if (last && last[1] === alone) last[0] += word;
      else found.push([word, alone]);
    });
    return found;
  }

  const marked = (words) => words.map(([text, alone]) => (alone ? make("mark", "", text) : document.createTextNode(text)));

  // ---------------------------------------------------------------------------------- the sample browser
  const browser = samples.length ? makeBrowser() : null;

  function makeBrowser() {
    const PAGE = 20;
    const form = byId("filters");
    const field = (name) => form.elements.namedItem(name);
    const list = byId("list");
    const rows = samples.map(([id, group, prompt, reference, answers, task], position) => ({
      position, task, measure: tasks[task], id: texts[id], group: texts[group], prompt: texts[prompt], reference: texts[reference],
      answers: new Map(answers.map(([index, prediction, value, requests, responses, cited]) =>
        [index, { prediction: texts[prediction], value, requests, responses, cited }])),
      haystack: null,
    }));
    let shown = [];
    let page = 0;

    if (field("task")) {
      tasks.forEach((task, place) => {
        const option = make("option", "", task.name);
        option.value = String(place);
        field("task").append(option);
      });
    }

    const number = (name) => (field(name) && field(name).value !== "" ? Number(field(name).value) : null);
    const right = (answer) => answer.value !== null && answer.value >= 0.5;

    function options(select, entries) {
      const before = select.value;
      select.replaceChildren(...entries.map(([value, text]) => {
        const option = make("option", "", text);
        option.value = value;
        return option;
      }));
      if (entries.some(([value]) => value === before)) select.value = before;
    }
    /** The choices of "Show" and "Order" depend on the metric and on whether two systems are compared; those of
        "Group" on the task. */
    function refreshChoices() {
      const both = number("second") !== null;
      const chosen = rows.filter((row) => number("task") === null || row.task === number("task"));
      const groups = [...new Set(chosen.map((row) => row.group))].filter(Boolean).sort();
      options(field("group"), [["", "all groups"], ...groups.map((group) => [group, group])]);
      field("group").parentElement.hidden = !groups.length;
      const fraction = chosen.some((row) => row.measure.fraction);
      const outcomes = [["", "all its samples"]];
      if (fraction && !both) outcomes.push(["right", "right"], ["wrong", "wrong"]);
      if (both) outcomes.push(["differ", "where they disagree"], ["answers", "different answers"]);
      if (fraction && both) outcomes.push(["first", "only the first right"], ["second", "only the second right"], ["neither", "both wrong"]);
      options(field("outcome"), outcomes);
      const orders = [["", "as in the task"], ["worst", "worst first"]];
      if (both) orders.push(["difference", "largest difference first"]);
      options(field("order"), orders);
    }

    function matches(row, first, second, outcome, group, words) {
      const a = row.answers.get(first);
      const b = second === null ? null : row.answers.get(second);
      if (!a || (second !== null && !b)) return false;
      if (number("task") !== null && row.task !== number("task")) return false;
      if (group && row.group !== group) return false;
      const judged = ["right", "wrong", "first", "second", "neither"].includes(outcome);
      if (judged && !row.measure.fraction) return false;
      if (outcome === "right" && !right(a)) return false;
      if (outcome === "wrong" && right(a)) return false;
      if (outcome === "differ" && (row.measure.fraction ? right(a) === right(b) : a.value === b.value)) return false;
      if (outcome === "answers" && a.prediction === b.prediction) return false;
      if (outcome === "first" && !(right(a) && !right(b))) return false;
      if (outcome === "second" && !(right(b) && !right(a))) return false;
      if (outcome === "neither" && (right(a) || right(b))) return false;
      if (!words.length) return true;
      if (row.haystack === null) {
        row.haystack = [row.id, row.prompt, row.reference, ...[...row.answers.values()].map((x) => x.prediction)].join("\n").toLowerCase();
      }
      return words.every((word) => row.haystack.includes(word));
    }

    function update() {
      const [first, second] = [number("first"), number("second")];
      const words = field("text").value.toLowerCase().split(/\s+/).filter(Boolean);
      shown = rows.filter((row) => matches(row, first, second, field("outcome").value, field("group").value, words));
      const order = field("order").value;
      const merit = (row) => (row.measure.higherIsBetter ? 1 : -1) * (row.answers.get(first).value ?? 0);
      const gap = (row) => Math.abs((row.answers.get(first).value ?? 0) - (row.answers.get(second).value ?? 0));
      if (order === "worst") shown.sort((x, y) => merit(x) - merit(y) || x.position - y.position);
      if (order === "difference") shown.sort((x, y) => gap(y) - gap(x) || x.position - y.position);
      page = 0;
      draw();
    }

    function draw() {
      const pages = Math.max(Math.ceil(shown.length / PAGE), 1);
      const measured = rows.filter((row) => row.answers.has(number("first"))).length;
      const part = measured < rows.length ? ` measured on this system (of ${rows.length.toLocaleString("en")})` : "";
      byId("count").textContent = `${shown.length.toLocaleString("en")} of ${measured.toLocaleString("en")} samples${part}`;
      byId("page").textContent = `${page + 1} / ${pages}`;
      byId("previous").disabled = page === 0;
      byId("next").disabled = page >= pages - 1;
      const nothing = make("p", "note", "No sample matches these filters.");
      list.replaceChildren(...(shown.length ? shown.slice(page * PAGE, (page + 1) * PAGE).map(item) : [nothing]));
    }

    /** One answer with its verdict; ``words`` are its prediction cut up and marked by compareWords. */
    function answerLine(answer, label, measure, words) {
      const element = make("div", "answer");
      const className = !measure.fraction || answer.value === null ? "value" : right(answer) ? "right" : "wrong";
      const line = make("span", className, label ? `${label}: ` : "");
      if (words) line.append(...marked(words));
      else line.append(answer.prediction || "(empty answer)");
      if (answer.value !== null && className === "value") line.dataset.value = answer.value.toPrecision(3);
      if (measure.fraction && answer.value > 0 && answer.value < 1) line.append(` (${Math.round(100 * answer.value)}%)`);
      element.append(line);
      const count = answer.cited.reduce((sum, [, citations]) => sum + citations.length, 0);
      if (count) element.append(make("small", "cites", `${count} ${count === 1 ? "citation" : "citations"}`));
      return element;
    }

    /** What a model wrote, where it wrote anything; otherwise the answer it was taken to give. */
    function output(answer) {
      const written = answer.responses
        .map((record) => new Map(record.map(([key, text]) => [texts[key], texts[text]])))
        .filter((record) => record.get("kind") === "generate" && record.has("text"));
      return written.length ? written.map((record) => record.get("text")).join("\n") : answer.prediction;
    }

    function sideBySide(a, b, first, second) {
      const element = make("div", "outputs");
      const [left, right] = [output(a), output(b)];
      if (left === right) {
        element.append(make("h4", "", "Output of both"), make("pre", "", left || "(empty)"));
        return element;
      }
      const difference = compareWords(left, right);
      const pair = make("div", "pair");
      [[first, difference.first], [second, difference.second]].forEach(([index, words], place) => {
        const column = make("div");
        const pre = make("pre");
        pre.append(...marked(words));
        if (!words.length) pre.append("(empty)");
        column.append(make("h4", "", `Output of the ${place ? "second" : "first"}: ${candidates[index].short}`), pre);
        pair.append(column);
      });
      const note = difference.exact ? "Words that the other output lacks are marked." :
        "The outputs are too long to compare word by word: all between their common beginning and end is marked.";
      element.append(pair, make("p", "note", note));
      return element;
    }

    function item(row) {
      const details = make("details", "sample");
      const summary = make("summary");
      const id = make("span", "id", row.id);
      if (row.group) id.append(make("i", "", row.group));
      if (field("task") && number("task") === null) id.append(make("i", "", row.measure.name));
      const answers = make("div");
      const [first, second] = [number("first"), number("second")];
      const [a, b] = [row.answers.get(first), second === null ? null : row.answers.get(second)];
      const words = b && a.prediction && b.prediction && a.prediction !== b.prediction ?
        compareWords(a.prediction, b.prediction) : null;
      answers.append(answerLine(a, b ? "first" : "", row.measure, words && words.first));
      if (b) answers.append(answerLine(b, "second", row.measure, words && words.second));
      summary.append(id, make("span", "prompt", row.prompt), answers);
      details.append(summary);
      details.addEventListener("toggle", () => {
        if (details.open && details.children.length === 1) details.append(body(row, first, second));
      });
      return details;
    }

    function block(parent, title, text) {
      parent.append(make("h4", "", title), make("pre", "", text));
    }

    function raw(answer, label) {
      const details = make("details", "raw");
      details.append(make("summary", "", `Raw requests and responses of ${label}`));
      details.addEventListener("toggle", () => {
        if (details.children.length > 1) return;
        const count = Math.max(answer.requests.length, answer.responses.length);
        for (let i = 0; i < count; i += 1) {
          const which = count > 1 ? ` ${i + 1} of ${count}` : "";
          for (const [kind, records] of [["Request", answer.requests], ["Response", answer.responses]]) {
            if (records[i]) block(details, `${kind}${which}`, records[i].map(([key, text]) => `${texts[key]}: ${texts[text]}`).join("\n"));
          }
        }
        if (!count) details.append(make("p", "note", "None were kept."));
      });
      return details;
    }

    function body(row, first, second) {
      const element = make("div", "body");
      block(element, "Prompt", row.prompt);
      if (row.reference) block(element, "Reference", row.reference);
      if (second !== null && second !== first) {
        element.append(sideBySide(row.answers.get(first), row.answers.get(second), first, second));
      }
      element.append(make("h4", "", `Answers of ${row.answers.size === 1 ? "the system" : `${row.answers.size} systems`}`));
      const table = make("table");
      for (const [index, answer] of [...row.answers].sort((a, b) => a[0] - b[0])) {
        const line = table.insertRow();
        const name = make("th", "", candidates[index].short);
        name.scope = "row";
        line.append(name);
        line.insertCell().append(answerLine(answer, "", row.measure));
      }
      element.append(table);
      for (const index of second === null || second === first ? [first] : [first, second]) {
        const answer = row.answers.get(index);
        if (answer.cited.length) element.append(sources(answer, candidates[index].short));
        element.append(raw(row.answers.get(index), candidates[index].short));
      }
      return element;
    }

    /** What an answer rests on: its text with the claims that cite, and every quote in its place. */
    function sources(answer, label) {
      const element = make("div", "sources");
      element.append(make("h4", "", `Citations of ${label}`));
      for (const [text, citations] of answer.cited) {
        const letters = Array.from(texts[text]); // offsets count characters, not UTF-16 units
        const paragraph = make("p", "cited");
        let end = 0;
        const claims = new Map();
        for (const citation of citations) {
          const key = `${citation[1]}-${citation[2]}`;
          claims.set(key, [...(claims.get(key) || []), citation]);
        }
        for (const group of [...claims.values()].sort((a, b) => a[0][1] - b[0][1])) {
          const [, first, last] = group[0];
          paragraph.append(letters.slice(end, Math.max(end, first)).join(""));
          paragraph.append(make("span", "claim", letters.slice(Math.max(end, first), last).join("")));
          paragraph.append(make("sup", "", [...new Set(group.map((one) => `[${one[0]}]`))].join("")));
          end = Math.max(end, last);
        }
        paragraph.append(letters.slice(end).join(""));
        const list = make("ul");
        for (const [marker, , , source, from, to, quote, place] of citations) {
          const line = make("li");
          const where = `${texts[source] || "(no source)"}, characters ${from.toLocaleString("en")}–${to.toLocaleString("en")}`;
          line.append(make("b", "", `[${marker}]`), " ", make("cite", "", texts[place] ? `${where}, ${texts[place]}` : where));
          const quoted = make("blockquote");
          quoted.append(make("mark", "", texts[quote]));
          line.append(quoted);
          list.append(line);
        }
        element.append(paragraph, list);
      }
      return element;
    }

    let waiting = 0;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      clearTimeout(waiting);
      if (event.target.name === "text") {
        waiting = setTimeout(update, 120);
        return;
      }
      refreshChoices();
      update();
    });
    const turn = (step) => { page += step; draw(); list.scrollIntoView({ block: "nearest" }); };
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    byId("browser").hidden = false;
    if (data.compared) {
      field("first").value = String(data.compared[0]);
      field("second").value = String(data.compared[1]);
    }
    refreshChoices();
    if (data.compared) field("outcome").value = "differ";
    update();
    if (data.compared && !shown.length) {
      field("outcome").value = "";
      update();
    }
    return {
      choose(index) {
        field("first").value = String(index);
        refreshChoices();
        update();
      },
    };
  }
})();
