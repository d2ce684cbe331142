// What stands below an answer: status with a clock, notes, citations, footer. Knows its props; asks the server by actions.
import { useEffect, useState } from 'react';
import { ArrowLeftRight, ArrowUpRight, Check, CircleAlert, CircleStop, Info, Search, ShieldCheck } from 'lucide-react';

const NOTES = {
  fallback: { Icon: ArrowLeftRight, title: 'Fell back' },
  escalation: { Icon: ArrowUpRight, title: 'Escalated' },
  kept: { Icon: Check, title: 'Draft kept' },
  stopped: { Icon: CircleStop, title: '' },
  whole: { Icon: Search, title: '' },
  notice: { Icon: Info, title: '' }
};

// The element is built anew with every update, so a phase's beginning is kept beside it.
const begun = (window.__relayClocks = window.__relayClocks || {});

function Clock({ id, elapsed }) {
  const [now, setNow] = useState(performance.now());
  if (!(id in begun)) begun[id] = performance.now() - elapsed;
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), 100);
    return () => clearInterval(timer);
  }, []);
  const s = Math.max(0, now - begun[id]) / 1000;
  const text = s < 60 ? `${s.toFixed(1)} s` : `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  return <span className="relay-clock" aria-hidden="true">{text}</span>;
}

function Note({ kind, text }) {
  const { Icon, title } = NOTES[kind] || NOTES.notice;
  return (
    <div className="relay-note" data-kind={kind}>
      <Icon size={15} aria-hidden="true" />
      <span>{title ? <strong>{title}. </strong> : null}{text}</span>
    </div>
  );
}

function Chip({ turn, citation }) {
  const { n, document: name, where, found } = citation;
  const label = `Open passage ${n}: ${name}${where ? ', ' + where : ''}${found ? ' (found by Relay)' : ''}`;
  return (
    <button
      type="button"
      className="relay-chip"
      data-relay-cite={`${turn}-${n}`}
      data-found={found ? 'relay' : 'model'}
      aria-label={label}
      title={label}
      onClick={(event) => {
        window.relay.remember(event.currentTarget);
        callAction({ name: 'relay_cite', payload: { turn, n } });
      }}
    >
      <span className="relay-chip-n">[{n}]</span>
      <span className="relay-chip-name">{name}</span>
      {where ? <span className="relay-chip-where">{where}</span> : null}
      {found ? <span className="relay-chip-found">found by Relay</span> : null}
    </button>
  );
}

// How much of the answer the passages carry: all, some or nothing.
function Carried({ text, share }) {
  const Icon = share === 1 ? ShieldCheck : share ? Info : CircleAlert;
  return (
    <div className="relay-note relay-carried" data-share={share === 1 ? 'all' : share ? 'some' : 'none'}>
      <Icon size={15} aria-hidden="true" />
      <span>{text}.</span>
    </div>
  );
}

function Keep({ turn }) {
  const [pressed, setPressed] = useState(false);
  return (
    <button
      type="button"
      className="relay-keep"
      disabled={pressed}
      onClick={() => { setPressed(true); callAction({ name: 'relay_keep', payload: { turn } }); }}
    >
      {pressed ? 'Keeping the draft…' : 'Keep the draft'}
    </button>
  );
}

export default function RelayAnswer() {
  const { turn, state, status, clock, elapsed_ms, notes, citations, carried, refused, footer, keep } = props;
  return (
    <div className="relay-answer" data-relay-state={state} data-relay-turn={turn}>
      {notes.map((note, index) => <Note key={index} {...note} />)}
      {status ? (
        <div className="relay-status">
          {state === 'draft' || state === 'refining' ? <span className="relay-badge">Draft</span> : null}
          <span className="relay-pulse" aria-hidden="true" />
          <span role="status">{status}…</span>
          <Clock id={clock} elapsed={elapsed_ms} />
          {keep ? <Keep turn={turn} /> : null}
        </div>
      ) : null}
      {carried ? <Carried {...carried} /> : null}
      {refused && citations.length ? <p className="relay-nearest">The nearest passages:</p> : null}
      {citations.length ? (
        <div className="relay-chips" role="group" aria-label="Passages">
          {citations.map((citation) => <Chip key={citation.n} turn={turn} citation={citation} />)}
        </div>
      ) : null}
      {footer.length ? (
        <div className="relay-footer">
          {footer.map((part, index) => <span key={index}>{part}</span>)}
        </div>
      ) : null}
    </div>
  );
}
