/** Passwords in URLs are used, and never shown. */

/** What stands between a user's name and the last `@` of an authority (RFC 3986, §3.2). */
const PASSWORD = /^([^:@/]*):[^/]*@/

/** An authority, `user:password@host`, as it may be shown. */
export function hidePassword(authority: string): string {
  return authority.replace(PASSWORD, '$1@')
}

/** A text with URLs as it may be shown. Paths of the tree are URLs too: `/https:/me:x@host`. */
export function hidePasswords(text: string): string {
  return text.replace(/\b([a-z][a-z0-9+.-]*:\/+[^/:@\s]*):[^/\s]*@/g, '$1@')
}
