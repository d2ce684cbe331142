// The knowledge page in the side panel: what the library holds, and why something is found. Knows its props; everything else
// it asks the server by one action. Shows a page of documents at a time and never has them all.
import { useEffect, useRef, useState } from 'react';
import { ArrowLeft, CircleAlert, CircleCheck, FilePlus2, FileText, Folder, RefreshCw, Search, Trash2, X } from 'lucide-react';
import { useChatInteract } from '@chainlit/react-client';

const SILENT = { error: 'Relay does not answer. Check that it still runs.' };

const ask = (what) =>
  Promise.resolve(callAction({ name: 'relay_knowledge', payload: what }))
    .then((answer) => answer?.response || SILENT)
    .catch(() => SILENT);

const day = (seconds) => new Date(seconds * 1000).toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

const since = (seconds) => {
  const minutes = Math.floor((Date.now() / 1000 - seconds) / 60);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 24 * 60 ? `${Math.floor(minutes / 60)} h ago` : day(seconds);
};

function Button({ icon: Icon, label, quiet, ...rest }) {
  return (
    <button type="button" className={quiet ? 'relay-k-icon' : 'relay-k-button'} aria-label={quiet ? label : undefined} title={quiet ? label : undefined} {...rest}>
      {Icon ? <Icon size={15} aria-hidden="true" /> : null}
      {quiet ? null : <span>{label}</span>}
    </button>
  );
}

function Sentence({ text, bad, onClose }) {
  const Icon = bad ? CircleAlert : CircleCheck;
  return (
    <p className="relay-k-said" data-bad={bad || undefined}>
      <Icon size={15} aria-hidden="true" />
      <span>{text}</span>
      {onClose ? <Button icon={X} label="Dismiss" quiet onClick={onClose} /> : null}
    </p>
  );
}

function Job({ job }) {
  return (
    <div className="relay-k-job" role="status">
      <span>{job.label}{job.fraction === null ? '' : ` · ${Math.round(job.fraction * 100)} %`}…</span>
      <progress value={job.fraction ?? undefined} max={1} aria-label={job.label} />
    </div>
  );
}

function Document({ one, into, busy, act }) {
  const [asking, setAsking] = useState(false);
  const keep = useRef(null);
  const bin = useRef(null);
  useEffect(() => { if (asking) keep.current?.focus(); }, [asking]);
  const dated = one.changed - one.added > 60 ? `changed ${day(one.changed)}` : `added ${day(one.added)}`;
  const facts = [one.kind.toUpperCase(), ...(one.state === 'ready' ? one.facts : one.facts.slice(1)), dated, one.collection === into ? '' : one.collection];
  return (
    <li className="relay-k-row" data-state={one.state}>
      <div className="relay-k-row-top">
        <FileText size={16} aria-hidden="true" />
        <div className="relay-k-row-text">
          <div className="relay-k-name" title={one.name}>{one.name}</div>
          {one.title ? <div className="relay-k-facts">{one.title}</div> : null}
          <div className="relay-k-facts">{facts.filter(Boolean).join(' · ')}</div>
          {one.problem ? (
            <div className="relay-k-problem"><strong>{one.state === 'no_text' ? 'No text. ' : 'Not read. '}</strong>{one.problem}</div>
          ) : null}
        </div>
        {one.mayRead ? (
          <Button icon={RefreshCw} label={`Read ${one.name} again`} quiet disabled={busy} onClick={() => act({ do: 'again', document: one.id })} />
        ) : null}
        {one.mayRemove ? (
          <button type="button" ref={bin} className="relay-k-icon" aria-label={`Delete ${one.name}`} title={`Delete ${one.name}`} disabled={busy} onClick={() => setAsking(true)}>
            <Trash2 size={15} aria-hidden="true" />
          </button>
        ) : null}
      </div>
      {asking ? (
        <div className="relay-k-ask" role="group" aria-label={`Delete ${one.name}?`}>
          <span>Delete it from the library?{one.stays ? ' The file itself stays where it is.' : ''}</span>
          <button type="button" className="relay-k-button" data-bad="true" onClick={() => { setAsking(false); act({ do: 'remove', document: one.id }); }}>Delete</button>
          <button type="button" ref={keep} className="relay-k-button" onClick={() => { setAsking(false); setTimeout(() => bin.current?.focus()); }}>Keep</button>
        </div>
      ) : null}
    </li>
  );
}

function FolderRow({ one, busy, act }) {
  const facts = [one.watched ? 'watched for changes' : 'read when asked', one.synced ? `last read ${since(one.synced)}` : 'not read yet', one.collection];
  return (
    <li className="relay-k-row">
      <div className="relay-k-row-top">
        <Folder size={16} aria-hidden="true" />
        <div className="relay-k-row-text">
          <div className="relay-k-name" title={one.path}>{one.path}</div>
          <div className="relay-k-facts">{facts.join(' · ')}</div>
          {one.report ? <div className="relay-k-facts">{one.report}</div> : null}
        </div>
        {one.mayRead ? <Button icon={RefreshCw} label={`Read ${one.path} again`} quiet disabled={busy} onClick={() => act({ do: 'sync', path: one.path })} /> : null}
      </div>
    </li>
  );
}

function Meter({ found }) {
  const percent = (value) => `${Math.max(0, Math.min(1, value)) * 100}%`;
  return (
    <div className="relay-k-meter" data-used={found.used || undefined} aria-hidden="true">
      <div className="relay-k-meter-bar" style={{ width: percent(found.confidence) }} />
      <div className="relay-k-meter-floor" style={{ left: percent(found.floor) }} />
    </div>
  );
}

function Hit({ one, open }) {
  const { score, meaning, sentence, words } = one.scores;
  const figures = [['Score', score.toFixed(2)], ['meaning', meaning.toFixed(2)], ['best sentence', sentence.toFixed(2)], ['words', words]];
  return (
    <li className="relay-k-hit" data-used={one.used || undefined}>
      <button type="button" data-relay-hit={one.id} onClick={() => open(one.id)}>
        <span className="relay-k-hit-top">
          <span className="relay-k-name">{one.document}</span>
          {one.used ? <span className="relay-k-used">used</span> : null}
        </span>
        {one.where ? <span className="relay-k-facts">{one.where}</span> : null}
        <span className="relay-k-quote">{one.quote}</span>
        <span className="relay-k-scores">
          {figures.map(([name, value]) => <span key={name}>{name} <b>{value}</b></span>)}
          {one.why ? <span>{one.why}</span> : null}
        </span>
      </button>
    </li>
  );
}

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

function Opened({ id, query, back }) {
  const [one, setOne] = useState(null);
  const [page, setPage] = useState(null);
  const first = useRef(null);
  useEffect(() => {
    let there = true;
    first.current?.focus();
    ask({ do: 'open', passage: id, query }).then((got) => {
      if (!there) return;
      setOne(got);
      if (got.pdf) ask({ do: 'picture', passage: id, query }).then((drawn) => there && setPage(drawn));
    });
    return () => { there = false; };
  }, [id]);
  const parts = one?.text ? window.relay.split(one.text, one.quote) : [];
  return (
    <div className="relay-k">
      <button type="button" className="relay-k-button relay-k-back" ref={first} onClick={back}>
        <ArrowLeft size={15} aria-hidden="true" /><span>Back to the search</span>
      </button>
      {one?.error ? <Sentence text={one.error} bad /> : null}
      {one?.text ? (
        <article className="relay-passage" aria-label={`Passage of ${one.document}`}>
          <div>
            <h3 className="relay-k-heading">{one.document}</h3>
            <p className="relay-passage-where">{[one.where, one.collection].filter(Boolean).join(' · ')}</p>
          </div>
          {one.pdf && !page ? <div className="relay-page relay-page-waits" role="status">Drawing the page…</div> : null}
          {page ? <Printed shown={page} /> : null}
          {one.before ? <div className="relay-around">{one.before}</div> : null}
          <div className="relay-text">{parts.map((part, at) => (at === 1 ? <mark key="quote" className="relay-quote">{part}</mark> : part))}</div>
          {one.after ? <div className="relay-around">{one.after}</div> : null}
        </article>
      ) : null}
    </div>
  );
}

export default function RelayKnowledge() {
  const { uploadFile } = useChatInteract();
  const [data, setData] = useState(props.first);
  const [view, setView] = useState({ scope: '', filter: '', problems: false, newest: false, offset: 0 });
  const [query, setQuery] = useState(props.query || '');
  const [found, setFound] = useState(null);
  const [opened, setOpened] = useState('');
  const [said, setSaid] = useState(null);
  const [busy, setBusy] = useState(false);
  const [job, setJob] = useState(props.first.job && !props.first.job.done ? props.first.job : null);
  const box = useRef(null);
  const files = useRef(null);
  const newest = useRef(0);

  const load = (changed) => {
    const next = { ...view, ...changed };
    const turn = ++newest.current;
    setView(next);
    return ask({ do: 'list', ...next }).then((got) => {
      // Answers may overtake each other while one types.
      if (turn !== newest.current) return;
      if (got.error && data.state === 'ready') setSaid({ text: got.error, bad: true });
      else setData(got);
    });
  };

  const search = (text) => {
    if (!text.trim()) { setFound(null); return; }
    setBusy(true);
    ask({ do: 'search', query: text }).then((got) => {
      setBusy(false);
      if (got.error) setSaid({ text: got.error, bad: true });
      else { setSaid(null); setFound(got); }
    });
  };

  const act = (what) => {
    setSaid(null);
    setBusy(true);
    return ask(what).then((got) => {
      setBusy(false);
      if (got.error) setSaid({ text: got.error, bad: true });
      if (got.sentence) setSaid({ text: got.sentence });
      if (got.job) setJob(got.job);
      else load({});
    });
  };

  const add = (chosen) => {
    if (!chosen.length) return;
    setBusy(true);
    setSaid(null);
    Promise.all([...chosen].map((file) => uploadFile(file, () => {}).promise))
      .then((sent) => act({ do: 'add', files: sent.map((one) => one.id) }))
      .catch((error) => { setBusy(false); setSaid({ text: `The file was not taken: ${typeof error === 'string' ? error : 'it could not be sent'}.`, bad: true }); });
  };

  useEffect(() => {
    window.relay.awaited = false;
    box.current?.focus({ preventScroll: true });
    window.relay.call('Knowledge');
    if (props.query) search(props.query);
    return () => window.relay.restore();
  }, []);

  useEffect(() => {
    if (data.state === 'ready' && data.ok) return undefined;
    const timer = setTimeout(() => load({}), data.state === 'ready' ? 3000 : 1000);
    return () => clearTimeout(timer);
  }, [data]);

  useEffect(() => {
    if (!job) return undefined;
    const timer = setTimeout(() => ask({ do: 'job' }).then((got) => {
      const now = got.job;
      if (now && !now.done) { setJob(now); return; }
      setJob(null);
      if (now) setSaid({ text: now.sentence, bad: now.failed });
      else setSaid({ text: got.error || SILENT.error, bad: true });
      load({});
    }), 400);
    return () => clearTimeout(timer);
  }, [job]);

  if (opened) {
    const back = () => {
      const id = opened;
      setOpened('');
      setTimeout(() => document.querySelector(`[data-relay-hit="${CSS.escape(id)}"]`)?.focus());
    };
    return <Opened id={opened} query={found?.query || query} back={back} />;
  }

  if (data.state !== 'ready') {
    return (
      <div className="relay-k" role="status">
        {data.error ? <Sentence text={data.error} bad /> : <p className="relay-k-empty">{data.doing}… The library is there in a moment.</p>}
      </div>
    );
  }

  const empty = !data.collections.length;
  const narrowed = view.filter || view.problems || view.scope;
  return (
    <div className="relay-k">
      <form role="search" className="relay-k-search" onSubmit={(event) => { event.preventDefault(); search(query); }}>
        <input
          ref={box}
          type="text"
          value={query}
          placeholder="Ask as you would in the chat"
          aria-label="Search the documents and see the scores"
          onChange={(event) => setQuery(event.target.value)}
        />
        <button type="submit" className="relay-k-button" disabled={busy || !query.trim()}><Search size={15} aria-hidden="true" /><span>Search</span></button>
      </form>

      {said ? <div role="status"><Sentence {...said} onClose={() => setSaid(null)} /></div> : null}
      {job ? <Job job={job} /> : null}

      {found ? (
        <section aria-label="What was found" className="relay-k-part">
          <p className="relay-k-verdict" role="status" data-used={found.used || undefined}>{found.verdict}</p>
          {found.hits.length ? <Meter found={found} /> : null}
          <ul className="relay-k-list">{found.hits.map((one) => <Hit key={one.id} one={one} open={setOpened} />)}</ul>
          {found.hits.length ? (
            <details className="relay-k-how">
              <summary>How to read the figures</summary>
              <p>
                Score: meaning and words together, compared within this search; the best is 1. Meaning and best sentence: how close the
                passage, and its closest sentence, are to the question (1 is the same). Words: how many of the question's words stand there.
                Confidence: how sure Relay is that the documents tell something at all.
              </p>
            </details>
          ) : null}
          <Button label="Back to the documents" icon={ArrowLeft} onClick={() => { setFound(null); setTimeout(() => box.current?.focus()); }} />
        </section>
      ) : (
        <>
          <div className="relay-k-sum">
            <p><b>{data.summary.join(' · ')}</b> · {data.disk}<br /><span data-ok={data.ok || undefined}>{data.index}</span></p>
            {data.into ? <Button icon={FilePlus2} label="Add files" disabled={busy || !!job} title={`Into: ${data.into}`} onClick={() => files.current?.click()} /> : null}
            <input ref={files} type="file" multiple hidden accept={data.kinds.join(',')} aria-label="Add files" onChange={(event) => { add(event.target.files); }} />
          </div>

          {data.folders.length ? (
            <section aria-label="Folders" className="relay-k-part">
              <h3 className="relay-k-heading">Folders</h3>
              <ul className="relay-k-list">{data.folders.map((one) => <FolderRow key={`${one.collection}:${one.path}`} one={one} busy={busy || !!job} act={act} />)}</ul>
            </section>
          ) : null}

          {empty ? (
            <p className="relay-k-empty">The library is empty. Add files here, drop them on the chat, or read a whole folder in the terminal: relay ingest FOLDER.</p>
          ) : (
            <section aria-label="Documents" className="relay-k-part">
              <div className="relay-k-chips" role="group" aria-label="Collections">
                <button type="button" aria-pressed={!view.scope} onClick={() => load({ scope: '', offset: 0 })}>All</button>
                {data.collections.map((one) => (
                  <button key={one.scope} type="button" aria-pressed={view.scope === one.scope} title={one.about} onClick={() => load({ scope: one.scope, offset: 0 })}>
                    {one.name} <span>{one.documents.toLocaleString('en')}</span>
                  </button>
                ))}
                {data.problems ? (
                  <button type="button" aria-pressed={view.problems} data-bad="true" onClick={() => load({ problems: !view.problems, offset: 0 })}>
                    Problems <span>{data.problems.toLocaleString('en')}</span>
                  </button>
                ) : null}
              </div>
              <div className="relay-k-tools">
                <input type="text" value={view.filter} placeholder="Find by name" aria-label="Find documents by name" onChange={(event) => load({ filter: event.target.value, offset: 0 })} />
                <select value={view.newest ? 'newest' : 'name'} aria-label="Order" onChange={(event) => load({ newest: event.target.value === 'newest', offset: 0 })}>
                  <option value="name">By name</option>
                  <option value="newest">Newest first</option>
                </select>
              </div>
              <ul className="relay-k-list">
                {data.documents.map((one) => <Document key={one.id} one={one} into={data.into} busy={busy || !!job} act={act} />)}
              </ul>
              {data.documents.length ? null : <p className="relay-k-empty">{narrowed ? 'No document is like that.' : 'There are no documents.'}</p>}
              {data.total > data.documents.length ? (
                <nav className="relay-k-paging" aria-label="Pages">
                  <Button label="Previous" disabled={!data.offset} onClick={() => load({ offset: Math.max(0, data.offset - 50) })} />
                  <span role="status">{(data.offset + 1).toLocaleString('en')}–{(data.offset + data.documents.length).toLocaleString('en')} of {data.total.toLocaleString('en')}</span>
                  <Button label="Next" disabled={data.offset + data.documents.length >= data.total} onClick={() => load({ offset: data.offset + 50 })} />
                </nav>
              ) : null}
            </section>
          )}
        </>
      )}
    </div>
  );
}
