// html`<p>${text}</p>` escapes what is put in, unless that is html itself.
class Html extends String {}

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function shown(value) {
	if (value instanceof Html) return value;
	if (Array.isArray(value)) return value.map(shown).join('');
	if (value === undefined || value === null || typeof value === 'boolean') return '';
	return String(value).replace(/[&<>"']/g, (character) => entities[character]);
}

export const html = (texts, ...values) =>
	new Html(String.raw({ raw: texts }, ...values.map(shown)));
