// "Firefox on Windows": what a person calls the device, out of the User-Agent
// header.  Order matters: every browser claims to be some other one as well.
const browsers = {
	'Edge': /Edg(e|A|iOS)?\//,
	'Opera': /OPR\//,
	'Samsung Internet': /SamsungBrowser\//,
	'Firefox': /(Firefox|FxiOS)\//,
	'Chrome': /(Chrome|CriOS)\//,
	'Safari': /Safari\//,
};
const systems = {
	'iPhone': /iPhone/,
	'iPad': /iPad/,
	'Android': /Android/,
	'Windows': /Windows/,
	'ChromeOS': /CrOS/,
	'Mac': /Macintosh/,
	'Linux': /Linux/,
};

const first = (names, text) => Object.keys(names).find((name) => names[name].test(text));

export function deviceLabel(userAgent = '') {
	const browser = first(browsers, userAgent) ?? 'Unknown browser';
	const system = first(systems, userAgent);
	return system ? `${browser} on ${system}` : browser;
}
