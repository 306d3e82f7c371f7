import type { TreeCore } from '../frame/core.ts'
import {
  bind,
  entries,
  inspect,
  lookUp,
  names,
  openForReading,
  type Place,
  unbind,
  which,
} from '../frame/queries.ts'
import type { StartMessage } from './handover.ts'

/** What the main thread asks the tree thread, by the name of the question. */
export interface TreeRequests {
  inspect(place: Place): ReturnType<typeof inspect>
  which(place: Place): ReturnType<typeof which>
  names(place: Place): ReturnType<typeof names>
  entries(place: Place, wanted: string[]): ReturnType<typeof entries>
  openForReading(place: Place): ReturnType<typeof openForReading>
  lookUp(place: Place): ReturnType<typeof lookUp>
  bind(place: Place, kind: 'bind' | 'cascade', urls: string[]): ReturnType<typeof bind>
  unbind(place: Place): ReturnType<typeof unbind>
  binds(): ReturnType<TreeCore['store']['binds']>
  frames(): number
}
export type TreeRequestName = keyof TreeRequests

/** The tree thread's answers. */
export function answerTreeRequests(core: TreeCore): TreeRequests {
  return {
    inspect: (place) => inspect(core, place),
    which: (place) => which(core, place),
    names: (place) => names(core, place),
    entries: (place, wanted) => entries(core, place, wanted),
    openForReading: (place) => openForReading(core, place),
    lookUp: (place) => lookUp(core, place),
    bind: (place, kind, urls) => bind(core, place, kind, urls),
    unbind: (place) => unbind(core, place),
    binds: () => core.store.binds(),
    frames: () => core.frames.live,
  }
}

/** Message to the tree thread. */
export type ToTree = { type: 'stop' } | { type: 'ask'; id: number; name: TreeRequestName; args: unknown[] }

/** Message from the tree thread. */
export type FromTree =
  | { type: 'ready'; resend: boolean; passthrough: boolean }
  | { type: 'answer'; id: number; value: unknown }
  | {
      type: 'failure'
      id: number
      error: { code: string; subject: string; why: string; hint: string | undefined }
    }
  | { type: 'ended'; how: 'stopped' | 'unmounted' }

/** What the tree thread is started with. */
export interface TreeThreadData {
  readonly wakeFd: number
  readonly message: StartMessage
  readonly home: string
  readonly root: string
  readonly database: string
  readonly mount: string
  readonly hostDirectory: string
  readonly pathDirectories: string[]
  /** Where the cosm that ships is, and the `cosmos` program itself. */
  readonly shipped: string
  readonly program: string
}
