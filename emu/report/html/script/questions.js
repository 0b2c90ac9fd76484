// Question mode: what lies ahead is hidden, and the page asks before it shows a step. The questions come with the document.

let asked = null;  // the question that is open
const answers = new Map();  // question -> right or not

const questionsOf = (run, f) => (run.questions || []).filter(q => q.flow === f.flow);
const waiting = () => M.questions.filter(q => !answers.has(q));

// The first question without an answer on the way to step k.
function heldBy(k) {
  if (!S.quiz) return null;
  return M.questions.find(q => !answers.has(q) && q.hop - 1 > S.step && q.hop - 1 <= k) || null;
}

function ask(question) {
  stop();
  const k = question.hop - 2;
  if (k !== S.step) go(k);
  if (asked === question) return $("#question input,#question button")?.focus();
  asked = question;
  drawQuestion();
  $("#question input")?.focus();
}

function drawQuestion(given) {
  const q = asked, el = $("#question"), done = given != null, right = given === q.answer;
  const choice = (text, i) => h`<label class="${done ? (i === q.answer ? "right" : i === given ? "wrong" : "") : ""}"><input type="radio" name="choice" value="${i}"
    ${done ? "disabled" : ""} ${i === given ? "checked" : ""}><span>${text}${done && i === q.answer ? " ✓" : done && i === given ? " ✕" : ""}</span></label>`;
  el.hidden = false;
  fill(el, h`<form><fieldset><legend><span class="qn">${t("question_of", {n: M.questions.indexOf(q) + 1, of: M.questions.length})}</span> ${q.ask}</legend>${q.choices.map(choice)}</fieldset>
    ${done ? h`<p class="${right ? "k-ok" : "k-drop"}" role="status"><b>${t(right ? "right" : "wrong")}</b></p><p>${q.why}</p><button class="main" type="submit">${t("go_on")}</button>`
    : h`<button class="main" type="submit">${t("check")}</button><button type="button" data-skip>${t("skip")}</button>`}</form>`);
  $("#side").scrollTop = 0;
  drawScore();
}

function leaveQuestion() {
  if (!asked) return;
  asked = null;
  $("#question").hidden = true;
}

function drawScore() {
  const mine = M.questions.filter(q => answers.has(q)), right = mine.filter(q => answers.get(q));
  $("#score").textContent = S.quiz ? t("score", {right: right.length, asked: mine.length, left: M.questions.length - mine.length}) : "";
}

$("#question").addEventListener("submit", e => {
  e.preventDefault();
  const q = asked, chosen = $("#question input:checked");
  if (answers.has(q)) return go(q.hop - 1);
  if (!chosen) return;
  answers.set(q, +chosen.value === q.answer);
  drawQuestion(+chosen.value);
  $("#question .main").focus();
});
$("#question").addEventListener("click", e => {
  if (!e.target.closest("[data-skip]")) return;
  answers.set(asked, false);
  drawQuestion(-1);
  $("#question .main").focus();
});

function setQuiz(on) {
  S.quiz = on;
  answers.clear();
  leaveQuestion();
  document.body.classList.toggle("quiz", on);
  $("#quiz").setAttribute("aria-pressed", on);
  drawScore();
  if (!M.steps.length) return;
  drawn = "";
  S.step = on ? 0 : S.step;
  full();
  go(S.step);
}
$("#quiz").onclick = () => setQuiz(!S.quiz);

// A question is a mark on the scrubber, so that a lesson's length is seen.
const questionMarks = x => !S.quiz ? [] : M.questions.map(q =>
  `<text x="${x(q.hop - 1)}" y="${BASE + 26}" font-size="11" font-weight="700" text-anchor="middle" style="fill:var(--nat)">?<title>${esc(t("a_question"))}</title></text>`);
