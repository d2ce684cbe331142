// The login page chooses its words by a response's reason phrase, which HTTP/2 has not.
const REASONS = { 401: 'Unauthorized', 403: 'Forbidden', 429: 'Too Many Requests', 503: 'Service Unavailable' };
const plainFetch = window.fetch;
window.fetch = async (...request) => {
  const response = await plainFetch(...request);
  const { status, statusText, headers } = response;
  return statusText || !REASONS[status] ? response : new Response(response.body, { status, statusText: REASONS[status], headers });
};

// What the page does beside Chainlit: citations in the text, links that lead nowhere, the side panel's keyboard.
// Knows the page's elements by their names; asks the server only by Chainlit's own means.

const panel = () => document.querySelector('#side-view-content');

// Where the keyboard was when a panel was opened: there it returns when the panel is closed.
const relay = (window.relay = { opener: null });

// Answers are built anew while the page changes: what was pressed is found again by its name and its place among its like.
relay.remember = (element) => {
  const [chip, href] = ['data-relay-cite', 'href'].map((name) => element.getAttribute(name));
  const name = chip ? `[data-relay-cite="${CSS.escape(chip)}"]` : href ? `a[href="${CSS.escape(href)}"]` : '';
  relay.opener = { element, name, at: name ? [...document.querySelectorAll(name)].indexOf(element) : 0 };
};

// The panel's own close button: an arrow beside the title, or the cross of the sheet on a small screen.
relay.closeButton = () =>
  document.querySelector('#side-view-title button') || panel()?.closest('[role="dialog"]')?.querySelector(':scope > button');

// What the panel is called, for those who hear it: Chainlit names neither it nor its close button.
relay.call = (title) => {
  relay.closeButton()?.setAttribute('aria-label', 'Close the panel');
  panel()?.closest('aside, [role="dialog"]')?.setAttribute('aria-label', title);
};

relay.restore = () => {
  const { element, name, at } = relay.opener || {};
  setTimeout(() => {
    const now = document.activeElement;
    if (panel() || (now && now !== document.body)) return;
    const target = element?.isConnected ? element : name && document.querySelectorAll(name)[at];
    (target || document.querySelector('#chat-input'))?.focus();
  }, 80);
};

// The cited words in a text, whatever white space stands between them: [before, the words, after], or [text].
relay.split = (text, quote) => {
  const words = (quote || '').trim().split(/\s+/).filter(Boolean);
  if (!words.length) return [text];
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('\\s+');
  const found = new RegExp(pattern, 'i').exec(text);
  if (!found) return [text];
  const end = found.index + found[0].length;
  return [text.slice(0, found.index), found[0], text.slice(end)];
};

// A citation in an answer's text is a link; its click goes to the chip below the answer, which asks the server.
document.addEventListener(
  'click',
  (event) => {
    const link = event.target.closest?.('a[href^="#relay-"]');
    if (!link) return;
    event.preventDefault();
    event.stopPropagation();
    if (link.getAttribute('href') === '#relay-unsupported') return;
    const name = link.getAttribute('href').slice('#relay-cite-'.length);
    document.querySelector(`[data-relay-cite="${CSS.escape(name)}"]`)?.click();
    relay.remember(link);
  },
  true
);

// The button in the page's head opens the knowledge page: Chainlit hands what a window is told to the server.
document.addEventListener(
  'click',
  (event) => {
    const link = event.target.closest?.('a[href="#knowledge"]') || event.target.querySelector?.(':scope > a[href="#knowledge"]');
    if (!link) return;
    event.preventDefault();
    relay.remember(link.closest('button') || link);
    relay.awaited = true;
    openKnowledge(Date.now(), 8);
  },
  true
);

// While the page still connects, what is posted is lost: so it is said again until the knowledge page has come. The server
// takes each click once.
function openKnowledge(click, tries) {
  window.postMessage({ relay: 'knowledge', click }, location.origin);
  if (tries > 1) setTimeout(() => relay.awaited && openKnowledge(click, tries - 1), 1500);
}

// Links lead only into this page, and by a click to the hosts that the user allowed. The server sees to it for answers;
// here for everything else: a message of one's own, a PDF's preview.
const hosts = (document.querySelector('meta[name="relay-links"]')?.content || '').split(',').filter(Boolean);

function leads(link) {
  try {
    const to = new URL(link.href.baseVal ?? link.href, location.href);
    // Of javascript:, data: and mailto: the origin is 'null'.
    return to.origin === location.origin || (/^https?:$/.test(to.protocol) && hosts.includes(to.hostname));
  } catch {
    return false;
  }
}

const outward = (link) => /^https?:$/.test(link.protocol) && link.origin !== location.origin;

function tame(link) {
  if (link.getAttribute('href') === '#knowledge') {
    // It stands in a button: one stop for the keyboard is enough.
    link.tabIndex = -1;
    link.closest('button')?.setAttribute('aria-label', 'Knowledge');
    return;
  }
  if (leads(link)) {
    if (outward(link) && link.rel !== 'noopener noreferrer') Object.assign(link, { rel: 'noopener noreferrer', target: '_blank' });
    return;
  }
  link.title = link.getAttribute('href');
  link.removeAttribute('href');
}

new MutationObserver((changes) => {
  for (const { target, addedNodes, type } of changes) {
    if (type === 'attributes') {
      if (target.matches('a[href]')) tame(target);
      continue;
    }
    for (const node of addedNodes) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      if (node.matches('a[href]')) tame(node);
      node.querySelectorAll('a[href]').forEach(tame);
    }
  }
}).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ['href'] });

for (const kind of ['click', 'auxclick'])
  document.addEventListener(
    kind,
    (event) => {
      const link = event.target.closest?.('a[href]');
      if (!link || leads(link)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    true
  );

// Escape closes the panel, from wherever in it the keyboard is, or from nowhere. A tooltip that still stands elsewhere takes
// the key for itself; that counts only when the keyboard is nowhere.
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !panel()) return;
  const inside = event.target.closest?.('aside')?.contains(panel());
  if (inside || (event.target === document.body && !event.defaultPrevented)) relay.closeButton()?.click();
});
