// Package browsertest lets a test use the product as a person does: with a real
// Chromium, on a real server with a real webhook at another port.
//
// A World is a server with an owner and a webhook; a Profile is one person's
// browser, which shares nothing with another's; a Page is a tab. A page acts by
// what people see, labels of fields and words on buttons, with real mouse and key
// events, and waits for what it is told to find. Whatever went wrong in a tab
// fails the test at its end: an error on the console, a breach of the content
// security policy, a dialog, a request to a host that is neither the server's nor a
// webhook's.
//
// Chromium is started once a process and ends with it; the test binary's TestMain
// calls Main. Scripts of this package run in a world of their own inside the page,
// so that the page keeps its policy and its objects. It knows nothing of pages'
// contents, and is for tests alone.
package browsertest
