import { execFile } from 'node:child_process'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, createServer as createRawServer, type Server, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { onTestFinished } from 'vitest'

/** A server of a test; it ends with it, and its connections too. */
export interface TestServer {
  readonly port: number
  /** `127.0.0.1:port`, a first segment of a path. */
  readonly authority: string
  /** What it was asked: `GET /a`, in order, with headers. */
  readonly asked: { readonly line: string; readonly headers: IncomingMessage['headers'] }[]
  /** Connections that are open. */
  readonly sockets: ReadonlySet<Socket>
  /** Connections that there have been. */
  readonly connections: number
  /** Answers that are under way. */
  readonly answering: number
}

/** An HTTP server on loopback; with a certificate it speaks TLS. */
export async function serve(listener: RequestListener, certificate?: Certificate): Promise<TestServer> {
  const asked: TestServer['asked'] = []
  const answers = new Set<ServerResponse>()
  const onRequest: RequestListener = (request, response) => {
    asked.push({ line: `${request.method} ${request.url}`, headers: request.headers })
    answers.add(response)
    response.on('error', () => {}).on('close', () => answers.delete(response))
    listener(request, response)
  }
  const server = certificate ? createSecureServer(certificate, onRequest) : createServer(onRequest)
  return listen(server, asked, answers)
}

/** A server that does with its connections what no HTTP server would. */
export async function serveRaw(onConnection: (socket: Socket) => void): Promise<TestServer> {
  return listen(createRawServer(onConnection), [], new Set())
}

async function listen(
  server: Server,
  asked: TestServer['asked'],
  answers: Set<ServerResponse>,
): Promise<TestServer> {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  })
  const { port } = server.address() as AddressInfo
  return {
    port,
    authority: `127.0.0.1:${port}`,
    asked,
    sockets,
    get connections() {
      return connections
    },
    get answering() {
      return answers.size
    },
  }
}

/** A port of loopback where nothing listens. */
export async function closedPort(): Promise<number> {
  const server = createRawServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** What a file of a test server is like. */
export interface FileOptions {
  readonly etag?: string
  readonly lastModified?: string
  readonly type?: string
  /** Answers Range requests; by default it does. */
  readonly ranges?: boolean
  /** Tells no length: chunked. */
  readonly chunked?: boolean
  /** Sends it compressed, whatever was asked. */
  readonly gzip?: boolean
  readonly headers?: Record<string, string>
}

/** Answers with a file, as a good server does: HEAD, conditions and ranges. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  content: Buffer | string,
  options: FileOptions = {},
): void {
  const plain = Buffer.from(content)
  const bytes = options.gzip ? gzipSync(plain) : plain
  const { etag, lastModified, ranges = true } = options
  const headers: Record<string, string | number> = {
    'content-type': options.type ?? 'application/octet-stream',
    ...(etag ? { etag } : {}),
    ...(lastModified ? { 'last-modified': lastModified } : {}),
    ...(options.gzip ? { 'content-encoding': 'gzip' } : {}),
    ...(ranges ? { 'accept-ranges': 'bytes' } : {}),
    ...options.headers,
  }
  const { 'if-none-match': none, 'if-modified-since': since, 'if-range': ifRange } = request.headers
  if ((etag && none === etag) || (!none && lastModified && since === lastModified)) {
    response.writeHead(304, headers).end()
    return
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  const isSame = ifRange === undefined || ifRange === etag || ifRange === lastModified
  if (range && ranges && isSame) {
    const start = Number(range[1])
    const end = range[2] ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1
    if (start >= bytes.length) {
      response.writeHead(416, { ...headers, 'content-range': `bytes */${bytes.length}` }).end()
      return
    }
    const part = bytes.subarray(start, end + 1)
    response.writeHead(206, {
      ...headers,
      'content-length': part.length,
      'content-range': `bytes ${start}-${end}/${bytes.length}`,
    })
    response.end(request.method === 'HEAD' ? undefined : part)
    return
  }
  response.writeHead(200, options.chunked ? headers : { ...headers, 'content-length': bytes.length })
  response.end(request.method === 'HEAD' ? undefined : bytes)
}

/** Answers with a page. */
export function sendPage(request: IncomingMessage, response: ServerResponse, html: string): void {
  sendFile(request, response, html, { type: 'text/html; charset=utf-8' })
}

/** A key and a certificate in PEM. */
export interface Certificate {
  readonly key: string
  readonly cert: string
}

/** A certificate that signed itself, for 127.0.0.1 unless another address is told. Made by openssl. */
export async function selfSigned(address = '127.0.0.1'): Promise<Certificate> {
  const { stdout } = await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=cosmos test', '-addext', `subjectAltName=IP:${address}`, '-keyout', '-', '-out', '-'],
  ])
  const [key, cert] = ['PRIVATE KEY', 'CERTIFICATE'].map(
    (kind) => new RegExp(`-----BEGIN ${kind}-----.*?-----END ${kind}-----\n`, 's').exec(stdout)?.[0],
  )
  if (!key || !cert) throw new Error('openssl made no certificate')
  return { key, cert }
}
