import type { TreeCore } from '../frame/core.ts'
import { accepts, library, route, vms, type Wanted } from '../frame/execution.ts'
import { type Anew, dropMade, madeAnew } from '../frame/produce-anew.ts'
import type { EditRequest } from '../frame/production/edits.ts'
import type { ProductionEnd, ProductionRequest } from '../frame/production/request.ts'
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
import type { SourceAnswer, ToSources } from '../source/requests.ts'
import type { VmDefinition } from '../vm/definitions.ts'

/** What the main thread asks the tree thread, by the name of the question. */
export interface TreeRequests {
  inspect(place: Place): ReturnType<typeof inspect>
  which(place: Place): ReturnType<typeof which>
  names(place: Place): ReturnType<typeof names>
  entries(place: Place, wanted: string[]): ReturnType<typeof entries>
  openForReading(place: Place): ReturnType<typeof openForReading>
  lookUp(place: Place, since: number, waited: readonly number[]): ReturnType<typeof lookUp>
  bind(place: Place, kind: 'bind' | 'cascade', urls: string[]): ReturnType<typeof bind>
  unbind(place: Place): ReturnType<typeof unbind>
  binds(): ReturnType<TreeCore['store']['binds']>
  route(place: Place, wanted: Wanted): ReturnType<typeof route>
  accepts(place: Place): ReturnType<typeof accepts>
  vms(): ReturnType<typeof vms>
  library(place: Place): ReturnType<typeof library>
  frames(): number
  /** Drops what was made for a path; host paths that are to be removed. */
  dropMade(place: Place): string[]
  madeAnew(place: Place): Anew
  /** A process has begun to make something. */
  producing(key: string, pid: number): void
  produced(key: string, end: ProductionEnd): void
  isAbandoned(key: string): boolean
  /** The sources in the root are others by now. */
  setSources(roots: string[]): void
  /** A document was changed, or not: 0 or `-errno`. */
  edited(key: string, result: number): void
  /** Aliases, or users' mappers and transformers, are others. */
  wordsChanged(): void
  /** Whether the kernel knows of all changes. */
  isTold(): boolean
}
export type TreeRequestName = keyof TreeRequests

/** A way to ask the tree, and to end the driver that serves it. */
export interface TreeAsker {
  /** Rejects with the tree's CosmosError. */
  ask<N extends TreeRequestName>(
    name: N,
    ...args: Parameters<TreeRequests[N]>
  ): Promise<ReturnType<TreeRequests[N]>>
  /** An answer of the sources; the tree goes on with what waits for it. */
  sourceAnswer(key: string, answer: SourceAnswer): void
  /** The driver ends after the request at hand; its `ended` event tells. */
  stop(): void
}

/** What a driver tells of itself. */
export interface TreeEvents {
  /** The tree answers the kernel. `resend`: a daemon's death is not seen. */
  ready(resend: boolean, passthrough: boolean): void
  ended(how: 'stopped' | 'unmounted'): void
  failed(error: Error): void
  /** The tree wants something of the sources. */
  source(message: ToSources): void
  /** The tree wants something made, and `produced` to be asked when it has ended. */
  produce(request: ProductionRequest, vm: VmDefinition | undefined): void
  /** Who waited for what is made was interrupted; `isAbandoned` says whether nobody does. */
  abandoned(key: string): void
  /** The tree wants a document changed, and `edited` to be asked then. */
  edit(request: EditRequest, vm: VmDefinition | undefined): void
}

/** The tree thread's answers. */
export function answerTreeRequests(core: TreeCore): TreeRequests {
  return {
    inspect: (place) => inspect(core, place),
    which: (place) => which(core, place),
    names: (place) => names(core, place),
    entries: (place, wanted) => entries(core, place, wanted),
    openForReading: (place) => openForReading(core, place),
    lookUp: (place, since, waited) => lookUp(core, place, since, waited),
    bind: (place, kind, urls) => bind(core, place, kind, urls),
    unbind: (place) => unbind(core, place),
    binds: () => core.store.binds(),
    route: (place, wanted) => route(core, place, wanted),
    accepts: (place) => accepts(core, place),
    vms: () => vms(core),
    library: (place) => library(core, place),
    frames: () => core.frames.live,
    dropMade: (place) => dropMade(core, place),
    madeAnew: (place) => madeAnew(core, place),
    producing: (key, pid) => core.productions.begun(key, pid),
    produced: (key, end) => core.productions.ended(key, end),
    edited: (key, result) => core.productions.edits.ended(key, result),
    isAbandoned: (key) => core.productions.isAbandoned(key),
    setSources: (roots) => core.remotes.setRoots(roots),
    wordsChanged: () => core.productions.wordsChanged(),
    isTold: () => core.services.invalidate.idle,
  }
}

/** Message to the tree thread. */
export type ToTree =
  | { type: 'start'; places: TreePlaces }
  | { type: 'stop' }
  | { type: 'sourceAnswer'; key: string; answer: SourceAnswer }
  | { type: 'ask'; id: number; name: TreeRequestName; args: unknown[] }

/** Message from the tree thread. */
export type FromTree =
  | { type: 'loaded' }
  | { type: 'ready'; resend: boolean; passthrough: boolean }
  | { type: 'source'; message: ToSources }
  | { type: 'produce'; request: ProductionRequest; vm: VmDefinition | undefined }
  | { type: 'abandoned'; key: string }
  | { type: 'edit'; request: EditRequest; vm: VmDefinition | undefined }
  | { type: 'answer'; id: number; value: unknown }
  | {
      type: 'failure'
      id: number
      error: { code: string; subject: string; why: string; hint: string | undefined }
    }
  | { type: 'ended'; how: 'stopped' | 'unmounted' }

/** Where the parts of the tree are on this machine; paths have one character a byte but for the database's. */
export interface TreePlaces {
  readonly home: string
  readonly root: string
  /** Whether paths are read as URLs are. */
  readonly fudge: boolean
  readonly database: string
  readonly mount: string
  /** Name of this host's directory in the root. */
  readonly hostDirectory: string
  readonly pathDirectories: string[]
  /** What the daemon shows of itself, and the result frames. */
  readonly state: string
  readonly runs: string
  /** Programs of peers. */
  readonly peers: string
  /** What is made of other things. */
  readonly store: string
  /** The control socket; no path of the tree. */
  readonly controlSocket: string
  readonly launcher: string
  /** Names of the sources in the root: `https:`. */
  readonly sources: string[]
  /** The cosm that ships with the package, and the `cosmos` program itself. */
  readonly shipped: string
  readonly program: string
}

/** What the tree thread is started with. */
export interface TreeThreadData {
  /** An eventfd that tells of messages. */
  readonly wakeFd: number
}
