import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import { ControlClient } from '../../daemon/client.ts'
import type { Instance } from '../../daemon/instance.ts'
import { describeError } from '../../errors.ts'
import { sandboxUser, whyNoSandbox } from '../../mesh/sandbox.ts'
import { type Check, type Finding, fail, ok, warn } from './check.ts'

/** What this instance has to do with other machines: what is exposed, and whether their programs can run here. */
export const MESH: readonly Check[] = [
  { name: 'key', run: key },
  { name: 'exposed', run: exposed },
  { name: 'sandbox', run: sandbox },
]

function key({ state }: Instance): Finding {
  const path = join(state, 'identity.key')
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return ok('none yet: this host has not been in a mesh')
  return (found.mode & 0o077) === 0
    ? ok(path)
    : fail(`others can read ${path}: whoever has may be this host`, `chmod 600 ${path}`)
}

/** Who may do what here, and where it is listened; nothing where no daemon runs. */
async function exposed(instance: Instance): Promise<readonly Finding[]> {
  const client = new ControlClient(instance)
  try {
    const [{ listening }, peers] = [await client.call('status', {}), await client.call('peers', {})]
    const { addresses } = listening
    const where = addresses.length > 0 ? `listens at ${addresses.join(', ')}` : 'listens nowhere'
    return [
      ok(`${where}; ${peers.length} ${peers.length === 1 ? 'peer' : 'peers'}`),
      ...peers
        .filter(({ grants }) => grants.length > 0)
        .map(({ name, grants }) => {
          const bare = grants.some((rule) => /(^|,)exec-bare[,:]/.test(rule))
          const detail = `${name} may here: ${grants.join(' ')}`
          return bare
            ? warn(
                `${detail}: exec-bare runs programs as this user, without a sandbox`,
                `cosmos revoke ${name}`,
              )
            : ok(detail)
        }),
    ]
  } catch (error) {
    const isDown = (error as { code?: string }).code === 'ENOTCONN' || /no daemon/.test(describeError(error))
    return [isDown ? ok('no daemon runs: nothing') : fail(describeError(error))]
  } finally {
    client.close()
  }
}

async function sandbox(): Promise<Finding> {
  const why = await whyNoSandbox(sandboxUser())
  if (!why) return ok('programs of peers can run in one')
  return warn(`programs of peers cannot run here: ${why.message}`, why.hint)
}
