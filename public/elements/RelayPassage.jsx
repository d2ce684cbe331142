// A passage in the side panel, with the cited words marked, and above it the PDF's own page. Knows its props; asks the server
// for the page by what the answer named: a turn and a number.
import { useEffect, useRef, useState } from 'react';

function Printed({ shown }) {
  const [large, setLarge] = useState(false);
  const mark = useRef(null);
  const look = () => mark.current?.scrollIntoView({ block: 'center', inline: 'center' });
  useEffect(() => { if (large) look(); }, [large]);
  const label = large ? 'Show the whole page' : 'Enlarge the page';
  return (
    <figure className="relay-page">
      {shown.image ? (
        <button type="button" className="relay-page-frame" data-large={large || undefined} aria-pressed={large} title={label} onClick={() => setLarge(!large)}>
          <span className="relay-page-sheet">
            <img src={shown.image} width={shown.width} height={shown.height} alt={`Page ${shown.page} of ${shown.pages} as it is printed. ${label}.`} onLoad={look} />
            {shown.at ? <span ref={mark} className="relay-page-at" style={{ left: `${shown.at[0] * 100}%`, top: `${shown.at[1] * 100}%` }} /> : null}
          </span>
        </button>
      ) : null}
      {shown.note || shown.error ? <figcaption role="status">{shown.note || shown.error}</figcaption> : null}
    </figure>
  );
}

function Page({ turn, n, page }) {
  const [shown, setShown] = useState(null);
  useEffect(() => {
    let there = true;
    callAction({ name: 'relay_picture', payload: { turn, n } })
      .then((answer) => there && setShown(answer?.response || { note: 'The page could not be shown.' }))
      .catch(() => there && setShown({ note: 'Relay does not answer, so the page cannot be shown.' }));
    return () => { there = false; };
  }, [turn, n]);
  if (!shown) return <div className="relay-page relay-page-waits" role="status">Drawing page {page}…</div>;
  return <Printed shown={shown} />;
}

export default function RelayPassage() {
  const { turn, n, where, found, before, text, after, quote, page } = props;
  const top = useRef(null);
  useEffect(() => {
    top.current?.focus({ preventScroll: true });
    if (!page) top.current?.querySelector('mark')?.scrollIntoView({ block: 'center' });
    window.relay.call(`Passage ${n}: ${props.document}`);
    return () => window.relay.restore();
  }, []);
  const parts = window.relay.split(text, quote);
  return (
    <article className="relay-passage" tabIndex={-1} ref={top} aria-label={`Passage ${n}: ${props.document}`}>
      <p className="relay-passage-where"><span className="relay-chip-n">[{n}]</span> {where || 'from the document'}</p>
      {found ? <p className="relay-passage-found">Found by Relay: the model did not cite this itself.</p> : null}
      {page ? <Page turn={turn} n={n} page={page} /> : null}
      {before ? <div className="relay-around">{before}</div> : null}
      <div className="relay-text">{parts.map((part, at) => (at === 1 ? <mark key="quote" className="relay-quote">{part}</mark> : part))}</div>
      {after ? <div className="relay-around">{after}</div> : null}
    </article>
  );
}
