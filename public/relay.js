// The login page chooses its words by a response's reason phrase, which HTTP/2 has not.
const REASONS = { 401: 'Unauthorized', 403: 'Forbidden', 429: 'Too Many Requests', 503: 'Service Unavailable' };
const plainFetch = window.fetch;
window.fetch = async (...request) => {
  const response = await plainFetch(...request);
  const { status, statusText, headers } = response;
  return statusText || !REASONS[status] ? response : new Response(response.body, { status, statusText: REASONS[status], headers });
};

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
