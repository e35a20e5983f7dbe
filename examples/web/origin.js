// Whether a request comes from a page of ours.  Browsers send Origin with every POST
// and for every web socket.  Behind a proxy that ends TLS only ORIGIN knows what they
// have in their address bar.
const { ORIGIN } = process.env;

const origin = ({ headers: { host }, socket }) => ORIGIN ?? `${socket.encrypted ? 'https' : 'http'}://${host}`;

export const isSecure = (request) => origin(request).startsWith('https:');

export const isFromHere = (request) => request.headers.origin === origin(request);
