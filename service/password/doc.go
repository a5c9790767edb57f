// Package password knows how passwords are kept and checked: as argon2id of what clients send, or in the imported
// legacy form. It bounds how many of the costly checks run at once, and remembers what it has verified, so that a
// storm of reconnecting clients does not pay for argon2id again [TT-LOGIN-11].
//
// Words: the secret is what a client sends, the lower-case hex MD5 of what its user typed; the stored form is the text
// that the directory keeps.
package password
