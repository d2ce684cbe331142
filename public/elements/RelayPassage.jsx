// A passage in the side panel, with the cited words marked. Knows its props only.
import { useEffect, useRef } from 'react';

function marked(text, quote) {
  const words = (quote || '').trim().split(/\s+/).filter(Boolean);
  if (!words.length) return [text];
  // Between the words any white space may stand: the quote was cut from running text.
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('\\s+');
  const found = new RegExp(pattern, 'i').exec(text);
  if (!found) return [text];
  const end = found.index + found[0].length;
  return [text.slice(0, found.index), <mark key="quote" className="relay-quote">{found[0]}</mark>, text.slice(end)];
}

export default function RelayPassage() {
  const { n, where, found, before, text, after, quote } = props;
  const top = useRef(null);
  useEffect(() => {
    top.current?.focus({ preventScroll: true });
    top.current?.querySelector('mark')?.scrollIntoView({ block: 'center' });
    const back = document.querySelector('#side-view-title button');
    back?.setAttribute('aria-label', 'Close the passage');
  }, []);
  const close = (event) => {
    if (event.key === 'Escape') document.querySelector('#side-view-title button')?.click();
  };
  return (
    <article className="relay-passage" tabIndex={-1} ref={top} onKeyDown={close} aria-label={`Passage ${n}`}>
      <p className="relay-passage-where"><span className="relay-chip-n">[{n}]</span> {where || 'from the document'}</p>
      {found ? <p className="relay-passage-found">Found by Relay: the model did not cite this itself.</p> : null}
      {before ? <div className="relay-around">{before}</div> : null}
      <div className="relay-text">{marked(text, quote)}</div>
      {after ? <div className="relay-around">{after}</div> : null}
    </article>
  );
}
