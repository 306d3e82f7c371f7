// Sources that a user drops into a cosm, through a real mount: the example source-git.
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, checkout, whyNoMount } from '../support/instance.ts'
import { has, run, shell } from '../support/run.ts'

const skip = whyNoMount() ?? ((await has('git')) ? undefined : 'there is no git')

describe.skipIf(skip)(`modules as sources${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let repo: string
  let at: string
  let first: string
  beforeAll(async () => {
    instance = new CosmosInstance()
    const services = join(instance.home, '.cosm/lib/cosmos/services')
    mkdirSync(services, { recursive: true })
    copyFileSync(join(checkout, 'examples/source-git/git.mjs'), join(services, 'git.mjs'))
    writeFileSync(join(services, 'broken.mjs'), 'export default {')
    repo = join(instance.work, 'repo')
    mkdirSync(repo)
    writeFileSync(join(repo, 'conf.yaml'), 'port: 80\n')
    const git = 'git -c user.name=T -c user.email=t@example.org -c init.defaultBranch=main'
    first = (
      await shell(
        `cd "$1"; ${git} init -q; ${git} add -A; ${git} commit -qm one; ${git} rev-parse HEAD
         echo "port: 8080" > conf.yaml; mkdir src; echo "int main;" > src/a.c; ${git} add -A; ${git} commit -qm two`,
        [repo],
        { env: { ...instance.env, HOME: instance.base, GIT_CONFIG_NOSYSTEM: '1' } },
      )
    )
      .trim()
      .split('\n')[0] as string
    if ((await instance.up()).code !== 0) throw new Error(instance.log())
    at = join(instance.mount, 'git:', repo)
  })
  afterAll(() => instance?.stop())

  test('commits and trees of a repository are directories', async () => {
    expect(await readdir(instance.mount)).toContain('git:')
    expect((await readdir(at)).sort()).toEqual(['branches', 'commits', 'tags'])
    expect(await readFile(`${at}/branches/main/conf.yaml`, 'utf8')).toBe('port: 8080\n')
    expect(await readFile(`${at}/commits/${first}/conf.yaml`, 'utf8')).toBe('port: 80\n')
    expect((await run('grep', ['-r', 'main', `${at}/branches/main`])).stdout).toBe(
      `${at}/branches/main/src/a.c:int main;\n`,
    )
    const diff = await run('diff', ['-r', `${at}/commits/${first}`, `${at}/branches/main`])
    expect(diff.stdout).toContain('< port: 80\n---\n> port: 8080\n')
    const extracted = await run('sh', [
      '-c',
      'cp -r "$1" "$2" && cat "$2/src/a.c"',
      'sh',
      `${at}/branches/main`,
      `${instance.work}/out`,
    ])
    expect(extracted.stdout).toBe('int main;\n')
  })

  test('with properties of their own, transformations and the command line', async () => {
    expect(await readFile(`${at}/commits/${first}:message`, 'utf8')).toBe('one\n')
    expect(JSON.parse(await readFile(`${at}/branches/main/conf.yaml.to-json`, 'utf8'))).toEqual({
      port: 8080,
    })
    expect(await readFile(`${at}/commits/${first}/conf.yaml.d/port`, 'utf8')).toBe('80\n')
    expect(await instance.tell('cat', `${at}/branches/main/conf.yaml`)).toBe('port: 8080\n')
    expect(await instance.tell('cat', `git://${repo}/branches/main/conf.yaml`)).toBe('port: 8080\n')
    expect(await instance.tell('lookup', '--trace', `${at}/branches/main`)).toMatch(/main +\d+ +source git +/)
    expect((await run('sh', ['-c', 'echo 1 > "$1"', 'sh', `${at}/branches/main/conf.yaml`])).stderr).toMatch(
      /Read-only/,
    )
  })

  test('one that does not load is EIO, and says why', async () => {
    const broken = join(instance.mount, 'broken:')
    expect((await run('ls', [`${broken}/x`])).stderr).toMatch(/Input\/output error/)
    expect((await run('cat', [`${broken}/x:error`])).stdout).toMatch(/broken/)
    expect((await instance.cosmos(['cat', `${broken}/x`])).stderr).toMatch(
      /Unexpected end of input|SyntaxError/,
    )
  })
})
