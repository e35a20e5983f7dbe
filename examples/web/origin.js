// Whether a request comes from a page of ours.  Browsers send Origin with every POST
// and for every web socket.
export function isFromHere({ headers: { origin, host } }) {
	try {
		return new URL(origin).host === host;
	} catch {
		return false;
	}
}
