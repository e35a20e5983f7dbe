// What the pages look like.  All of it works without a script.
import { html } from './html.js';

// ---- the frame --------------------------------------------------------------

const links = { '/notes': 'Notes', '/sessions': 'Sessions', '/password': 'Password' };

const token = (me) => html`<input type="hidden" name="form_token" value="${me.form_token}">`;

const navigation = (me, here) => html`
	<nav aria-label="Main">
		<ul>${Object.entries(links).map(([path, text]) => html`
			<li><a href="${path}"${here === path && html` aria-current="page"`}>${text}</a></li>`)}
		</ul>
	</nav>
	<form class="account" method="post" action="/log-out">${token(me)}
		<span class="name"><span class="unseen">Logged in as </span>${me.name}</span>
		<button class="quiet">Log out</button>
	</form>`;

const page = (title, { me, here, wide }, content) => html`<!doctype html>
<html lang="en">
<head>
	<meta charset="utf-8">
	<meta name="viewport" content="width=device-width, initial-scale=1">
	<meta name="color-scheme" content="light dark">
	<title>${title} · Fjord</title>
	<link rel="icon" href="/icon.svg" type="image/svg+xml">
	<link rel="stylesheet" href="/style.css">
	${me && html`<script src="/live.js" type="module"></script>`}
</head>
<body>
	<a class="skip" href="#content">Skip to content</a>
	<header>
		<div class="bar">
			<a class="brand" href="/"><img src="/icon.svg" alt="" width="28" height="28">Fjord</a>
			${me ? navigation(me, here) : ''}
		</div>
	</header>
	<main id="content"${wide || html` class="narrow"`}>${content}</main>
	<footer><p>An example of <b>narvik</b>: login sessions inside PostgreSQL.</p></footer>
	${me && html`<template id="ended">
		<h1>Your session has ended</h1>
		<p class="notice bad" role="alert">You are logged out. <a href="/log-in">Log in again</a></p>
		<form class="card compose" method="post" action="/notes">
			${noteField('This note is not saved yet')}
			<button>Keep it and log in</button>
		</form>
	</template>`}
</body>
</html>
`;

// ---- parts ------------------------------------------------------------------

const notice = (text) => text && html`<p class="notice" role="status">${text}</p>`;

const alert = (text) => text && html`<p class="notice bad" role="alert" id="alert">${text}</p>`;

// Of the field to correct; described by the element that says what is wrong.
const mistaken = (help) => html` aria-invalid="true" aria-describedby="${help}" autofocus`;

// An input with its label and a hint; after a mistake, what is wrong instead, unless
// an alert above the form says it.
function input(name, label, { error, alerted, hint, ...attributes }) {
	return html`
	<div class="field">
		<label for="${name}">${label}</label>
		<input id="${name}" name="${name}" required${Object.entries(attributes).map(([key, value]) =>
			html` ${key}="${value}"`)}${alerted ? mistaken('alert') : error ? mistaken(`${name}-help`)
			: hint && html` aria-describedby="${name}-help"`}>
		${error ? html`<p class="error" id="${name}-help">${error}</p>`
			: hint && html`<p class="hint" id="${name}-help">${hint}</p>`}
	</div>`;
}

const newPassword = (label, error) => input('password', label, {
	error, hint: 'At least 8 characters. A few words make a good one.',
	type: 'password', autocomplete: 'new-password', minlength: 8, maxlength: 72,
});

// For password managers, which want to know whose password it is.
const userName = (me) => html`<input name="username" autocomplete="username" value="${me.name}" hidden>`;

const nameField = (value = '', error, hint) => input('name', 'Name', {
	error, hint, value, autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', maxlength: 30,
});

const noteField = (label, body, error) => html`
	<label for="body">${label}</label>
	<textarea id="body" name="body" rows="2" maxlength="2000" required${error && mistaken('alert')}>
${body}</textarea>`;

// ---- times ------------------------------------------------------------------

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const units = [['day', 86400], ['hour', 3600], ['minute', 60]];

function time(date) {
	const seconds = (date - Date.now()) / 1000;
	const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) ?? [];
	const text = unit ? relative.format(Math.round(seconds / length), unit) : 'just now';
	const utc = date.toISOString();
	return html`<time datetime="${utc}" title="${utc.slice(0, 16).replace('T', ' ')} UTC">${text}</time>`;
}

// ---- in and out -------------------------------------------------------------

const kept = (draft) => draft && notice('Your note is kept. Create an account or log in, and it is yours.');

export const welcome = ({ body, error, deleted } = {}) => page('Notes of your own', { wide: true }, html`
	${deleted && notice('Your account is deleted, and your notes with it.')}
	<div class="hero">
		<div>
			<h1>Notes that are yours&nbsp;alone.</h1>
			<p class="lead">A small application on PostgreSQL. Who you are, what you may see and how
				long you stay logged in is decided in the database, by narvik.</p>
			<p class="actions"><a class="button" href="/sign-up">Create an account</a>
				<a class="button second" href="/log-in">Log in</a></p>
			${alert(error)}
			<form class="card compose" method="post" action="/draft">
				${noteField('Write a note now, sign up later', body, error)}
				<button class="second">Keep it</button>
			</form>
		</div>
		<pre class="card" tabindex="0" aria-label="What the database is asked"><code><i>-- each click</i>
<b>BEGIN</b>;
<b>SELECT</b> * <b>FROM</b>
  narvik_authenticate_cookie($1);
<b>SELECT</b> body <b>FROM</b> notes;
<b>COMMIT</b>;

<i>-- whose notes?</i>
<b>CREATE POLICY</b> own_notes <b>ON</b> notes
  <b>USING</b> (owner = (<b>SELECT</b>
    narvik_current_user_id()::bigint));</code></pre>
	</div>
	<ul class="points">
		<li><h2>Rows know their owner</h2>
			<p>Row-level security shows you your notes. The queries do not even ask for a name.</p></li>
		<li><h2>Log out means out</h2>
			<p>See where you are logged in. End a session, and its next click is refused.</p></li>
		<li><h2>Nothing to steal</h2>
			<p>The database keeps hashes of tokens and passwords. The cookie is out of scripts’ reach.</p></li>
	</ul>`);

export const signUp = ({ draft, name, errors = {} } = {}) => page('Create an account', {}, html`
	<h1>Create an account</h1>
	${kept(draft)}
	<form class="card" method="post" action="/sign-up">
		${nameField(name, errors.name, '3 to 30 letters, digits, - or _.')}
		${newPassword('Password', errors.password)}
		<button>Create account</button>
	</form>
	<p class="aside">You have one? <a href="/log-in">Log in</a></p>`);

export const logIn = ({ draft, name, error, ended } = {}) => page('Log in', {}, html`
	<h1>Log in</h1>
	${ended && notice('Your session has ended. Please log in again.')}
	${kept(draft)}
	${alert(error)}
	<form class="card" method="post" action="/log-in">
		${nameField(name)}
		${input('password', 'Password', {
			alerted: error, type: 'password', autocomplete: 'current-password', maxlength: 72 })}
		<button>Log in</button>
	</form>
	<p class="aside">New here? <a href="/sign-up">Create an account</a></p>`);

// ---- notes ------------------------------------------------------------------

const note = (me, { id, body, created_at }) => html`
	<li class="card note">
		<p>${body}</p>
		<form method="post" action="/notes/delete">${token(me)}
			<input type="hidden" name="id" value="${id}">
			${time(created_at)}
			<button class="quiet" aria-label="Delete note: ${body.slice(0, 40)}">Delete</button>
		</form>
	</li>`;

// This page is all that has it still.
const deletion = (me, body) => html`
	<form class="notice deleted" method="post" action="/notes">${token(me)}
		<input type="hidden" name="body" value="${body}">
		<span role="status">The note is deleted.</span>
		<button class="second">Put it back</button>
	</form>`;

export const notes = (me, all, { body, error, deleted } = {}) => page('Notes', { me, here: '/notes', wide: true }, html`
	<h1>Notes</h1>
	${alert(error)}
	${deleted && deletion(me, deleted)}
	<form class="card compose" method="post" action="/notes">${token(me)}
		${noteField('New note', body, error)}
		<button>Add note</button>
	</form>
	${all.length === 0
		? html`<p class="empty">Nothing here yet. What you write, only you can read.</p>`
		: html`<ul class="notes" aria-label="Your notes">${all.map((each) => note(me, each))}</ul>`}`);

// ---- sessions ---------------------------------------------------------------

function sessionsEnded(count) {
	if (count === 0) return 'No other session was there to end.';
	return count === 1 ? 'One session was ended.' : `${count} sessions were ended.`;
}

const isPhone = (device) => /iPhone|iPad|Android/.test(device);

const session = (me, { id, device, created_at, active_at, expires_at, this_device }) => html`
	<li class="session">
		<span class="device ${isPhone(device) ? 'phone' : 'laptop'}"></span>
		<div>
			<h2>${device} ${this_device && html`<span class="badge">This device</span>`}</h2>
			<p><span>Last active ${time(active_at)}.</span> <span>Logged in ${time(created_at)}.</span> <span>Expires ${time(expires_at)}.</span></p>
		</div>
		${this_device || html`
		<form method="post" action="/sessions/end">${token(me)}
			<input type="hidden" name="id" value="${id}">
			<button class="second">Log out<span class="unseen"> ${device}</span></button>
		</form>`}
	</li>`;

export const sessions = (me, all, { ended }) => page('Your sessions', { me, here: '/sessions', wide: true }, html`
	<h1>Your sessions</h1>
	<p class="lead">Where you are logged in. Something you do not know? Log it out, then
		<a href="/password">change your password</a>. What happened
		is in the <a href="/sessions/log">security log</a>.</p>
	${ended !== undefined && notice(sessionsEnded(ended))}
	<ul class="card sessions">${all.map((each) => session(me, each))}</ul>
	<form method="post" action="/sessions/end-others">${token(me)}
		<button class="second bad"${all.length === 1 && html` disabled`}>Log out everywhere else</button>
	</form>`);

const happened = {
	created: 'Logged in', promoted: 'Logged in', reauthenticated: 'Password confirmed', 'new password': 'Changed the password',
};
const reasons = {
	logout: 'Logged out', revoked: 'Logged out from another device', 'new password': 'Logged out: new password',
	replaced: 'Replaced by another log-in', expired: 'Expired', max_age: 'Expired',
};

const event = ({ at, kind, reason, device }) => html`
	<li class="session">
		<div>
			<h2>${kind === 'ended' ? reasons[reason] ?? `Logged out: ${reason}` : happened[reason] ?? happened[kind]}</h2>
			<p><span>${device}</span> <span>${time(at)}</span></p>
		</div>
	</li>`;

export const securityLog = (me, events, more) => page('Security log', { me, here: '/sessions', wide: true }, html`
	<h1>Security log</h1>
	<p class="lead">What happened to your sessions. Something you did not do?
		<a href="/password">Change your password</a>.</p>
	<ul class="card sessions">${events.map(event)}</ul>
	${more && html`<p><a href="/sessions/log?before=${events.at(-1).seq}">Older</a></p>`}`);

// ---- password ---------------------------------------------------------------

export const password = (me, { ended, errors = {} } = {}) => page('Change password', { me, here: '/password' }, html`
	<h1>Change password</h1>
	<p class="lead">You stay logged in here. All your other devices are logged out.</p>
	${ended !== undefined && notice(`Your password is changed. ${sessionsEnded(ended)}`)}
	<form class="card" method="post" action="/password">${token(me)}
		${userName(me)}
		${input('old_password', 'Old password', {
			error: errors.old_password, type: 'password', autocomplete: 'current-password', maxlength: 72 })}
		${newPassword('New password', errors.password)}
		<button>Change password</button>
	</form>
	<p class="aside">Want to leave? <a href="/account">Delete your account</a></p>`);

// ---- the account ------------------------------------------------------------

export const account = (me, confirmed, error) => page('Delete your account', { me, here: '/password' }, html`
	<h1>Delete your account</h1>
	${confirmed ? html`
	<p class="lead">Your notes go with it, and all your devices are logged out. Nothing brings them back.</p>
	<form class="card" method="post" action="/account/delete">${token(me)}
		<button class="second bad">Delete account</button>
	</form>` : html`
	<p class="lead">Please show first that it is you.</p>
	<form class="card" method="post" action="/account/confirm">${token(me)}
		${userName(me)}
		${input('password', 'Password', { error, type: 'password', autocomplete: 'current-password', maxlength: 72 })}
		<button>Go on</button>
	</form>`}
	<p class="aside"><a href="/password">Keep the account</a></p>`);

// ---- refusals ---------------------------------------------------------------

export const refusals = {
	400: ['That did not make sense', 'The request has something in it that cannot be understood or stored.'],
	403: ['That form is not ours, or it is old', 'Go back, load the page again and try once more.'],
	404: ['There is nothing here', 'It may have been deleted, or it was never there.'],
	413: ['That is too much', 'The form holds more than this application takes.'],
	429: ['Too many attempts', 'Please wait ten minutes, then try again.'],
	500: ['Something went wrong', 'It is not your fault. Please try again later.'],
	503: ['We are not quite there', 'The database does not answer. Please try again in a moment.'],
};

export const refusal = (status, me) => page(refusals[status][0], { me }, html`
	<div class="refusal">
		<p class="status">${status}</p>
		<h1>${refusals[status][0]}</h1>
		<p>${refusals[status][1]}</p>
		<p class="actions"><a class="button" href="/">Back to the start</a></p>
	</div>`);
