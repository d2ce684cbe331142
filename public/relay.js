// A citation in an answer's text is a link; its click goes to the chip below the answer, which asks the server.
document.addEventListener(
  'click',
  (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#relay-"]');
    if (!link) return;
    event.preventDefault();
    event.stopPropagation();
    if (link.getAttribute('href') === '#relay-unsupported') return;
    const name = link.getAttribute('href').slice('#relay-cite-'.length);
    document.querySelector(`[data-relay-cite="${CSS.escape(name)}"]`)?.click();
  },
  true
);
