/**
 * The process of one user's module: `node main.ts`, with frames of msgpack on descriptor 3 and the daemon's life on 4.
 * It is told what to load, answers calls, and never loads anything else.
 */
import { Socket } from 'node:net'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { decodePayload, encodeFrame, FrameReader, isMap } from '../../form/msgpack.ts'
import type { SourceContext, SourceFile, SourceService } from '../service.ts'
import { checkContent, checkEntries, checkError, checkNode, wrong } from './answers.ts'

const FRAMES = 3
type Method = Exclude<keyof SourceService, 'close'>
type Arguments = readonly unknown[]

new Worker(new URL('./life-thread.ts', import.meta.url)).unref()
const socket = new Socket({ fd: FRAMES, readable: true, writable: true })
const reader = new FrameReader()
const files = new Map<number, SourceFile>()
const running = new Map<number, AbortController>()
let service: SourceService | undefined
let lastFile = 0

socket.on('data', (bytes: Buffer) => {
  for (const payload of reader.push(bytes)) receive(decodePayload(payload))
})
socket.on('close', () => process.exit(0))

function send(message: object): void {
  socket.write(encodeFrame(message))
}

function receive(message: Record<string, unknown>): void {
  const { id, op, args } = message
  if ('ping' in message) send({ pong: message.ping })
  else if ('cancel' in message) running.get(message.cancel as number)?.abort()
  else if ('start' in message) start(message.start as StartMessage)
  else if ('end' in message) end()
  else answer(id as number, op as string, args as Arguments)
}

/** What the daemon tells first. */
interface StartMessage {
  readonly path: string
  readonly home: string
  readonly environment: SourceContext['environment']
  readonly settings: SourceContext['settings']
}

async function start({ path, ...told }: StartMessage): Promise<void> {
  try {
    const loaded = (await import(pathToFileURL(path).href)) as { default?: unknown }
    const exported = loaded.default
    if (typeof exported !== 'object' || exported === null) throw wrong('its default export is no object')
    const context: SourceContext = { ...told, log: (line) => send({ log: String(line) }) }
    const open: unknown = Reflect.get(exported, 'open')
    // A service has an `open` too, but `stat` beside it.
    const made: unknown =
      'stat' in exported || typeof open !== 'function'
        ? exported
        : await Reflect.apply(open, exported, [context])
    if (typeof made !== 'object' || made === null) throw wrong('open answers no service')
    for (const name of ['stat', 'list', 'open'])
      if (typeof Reflect.get(made, name) !== 'function') throw wrong(`it has no function ${name}`)
    service = made as SourceService
    send({ ready: true })
  } catch (error) {
    send({ failed: checkError(error) })
  }
}

async function end(): Promise<void> {
  try {
    await service?.close?.()
  } finally {
    process.exit(0)
  }
}

async function answer(id: number, op: string, args: Arguments): Promise<void> {
  const controller = new AbortController()
  running.set(id, controller)
  try {
    send({ id, ok: await call(op, args, controller.signal) })
  } catch (error) {
    send({ id, error: checkError(error) })
  } finally {
    running.delete(id)
  }
}

async function call(op: string, args: Arguments, signal: AbortSignal): Promise<unknown> {
  switch (op) {
    case 'stat':
      return checkNode(await ask('stat', [...args, signal]))
    case 'list':
      return checkEntries(await ask('list', [...args, signal]))
    case 'open':
      return opened(await ask('open', [...args, signal]))
    case 'create':
      return opened(await ask('create', args))
    case 'property': {
      if (!service?.property) return undefined
      const content = await ask('property', [...args, signal])
      return content === undefined ? undefined : checkContent(content, Number.POSITIVE_INFINITY)
    }
    case 'mkdir':
    case 'symlink':
    case 'link':
    case 'change':
      return checkNode(await ask(op, args))
    case 'unlink':
    case 'rmdir':
    case 'rename':
      await ask(op, args)
      return undefined
    default:
      return callFile(op, args, signal)
  }
}

/** What an open file is asked; the first argument says which. */
async function callFile(op: string, [handle, ...args]: Arguments, signal: AbortSignal): Promise<unknown> {
  const file = files.get(handle as number)
  if (!file) throw Object.assign(new Error('the file is not open'), { code: 'EBADF' })
  switch (op) {
    case 'read': {
      const [position, length] = args as [number, number]
      return checkContent(await file.read(position, length, signal), length)
    }
    case 'write': {
      if (!file.write) throw readOnly()
      const [position, bytes] = args as [number, Uint8Array]
      return file.write(position, new Uint8Array(bytes))
    }
    case 'sync':
      return file.sync?.()
    default:
      files.delete(handle as number)
      return file.close()
  }
}

function ask(method: Method, args: Arguments): unknown {
  const called: unknown = service?.[method]
  if (typeof called !== 'function') throw readOnly()
  return Reflect.apply(called, service, args)
}

function opened(value: unknown): object {
  if (!isMap(value)) throw wrong('open answers no file')
  const file = value as unknown as SourceFile
  for (const name of ['read', 'close'] as const)
    if (typeof file[name] !== 'function') throw wrong(`a file has no function ${name}`)
  const node = checkNode(file.node)
  files.set(++lastFile, file)
  return { handle: lastFile, node }
}

function readOnly(): Error {
  return Object.assign(new Error('is read-only'), { code: 'EROFS' })
}
