import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CosmosError, describeError } from '../../src/errors.ts'
import type { SourceContext, SourceService } from '../../src/source/service.ts'
import { sshService } from '../../src/source/ssh/service.ts'
import { succeed } from '../support/run.ts'
import { codeOf, errorOf, never, Sshd, whyNoSshd } from './sshd.ts'

const missing = await whyNoSshd()

describe.skipIf(missing !== undefined)('whom ssh trusts, and who is let in', () => {
  let sshd: Sshd
  let known: string
  const services: SourceService[] = []

  beforeAll(async () => {
    sshd = await Sshd.start()
    known = readFileSync(sshd.key('known_hosts'), 'utf8')
    writeFileSync(`${sshd.files}/file`, 'text')
    await sshd.makeKey(sshd.key('other'))
    await sshd.makeKey(sshd.key('locked'), 'ed25519', 'secret')
    sshd.letIn('locked')
    await sshd.agent('locked')
  })
  afterEach(async () => {
    await Promise.all(services.splice(0).map((service) => service.close?.()))
    writeFileSync(sshd.key('known_hosts'), known)
    writeFileSync(sshd.key('config'), '')
  })
  afterAll(() => sshd?.stop())

  function client(context: SourceContext = sshd.context()): SourceService {
    const service = sshService(context)
    services.push(service)
    return service
  }

  const stat = (authority?: string, context?: SourceContext) =>
    client(context).stat(sshd.path('file', authority), never)
  const configure = (text: string) => writeFileSync(sshd.key('config'), text)
  const withAgent = () => sshd.context({}, { SSH_AUTH_SOCK: sshd.at('agent') })

  test('a host whose key is known', async () => {
    expect(await stat()).toMatchObject({ type: 'file', size: 4 })
    expect(await stat(`${sshd.user}@127.0.0.1:${sshd.port}`)).toMatchObject({ size: 4 })
  })

  test('a host whose key is not: what to do about it is said', async () => {
    sshd.forget()
    const error = (await errorOf(stat())) as CosmosError
    expect(error.code).toBe('EACCES')
    expect(describeError(error)).toContain(`ssh -p ${sshd.port} ${sshd.user}@127.0.0.1 once`)
  })

  test('a host whose key is another than it was', async () => {
    sshd.forget()
    await sshd.makeKey(sshd.at('false_key')).catch(() => {})
    sshd.know(`[127.0.0.1]:${sshd.port}`, 'false_key')
    const error = (await errorOf(stat())) as CosmosError
    expect(error.code).toBe('EACCES')
    expect(describeError(error)).toMatch(/CHANGED.*ssh-keygen -f .* -R '\[127\.0\.0\.1\]:/)
  })

  test('a revoked key, though it is known too', async () => {
    const [, type, key] = known.split(' ')
    writeFileSync(sshd.key('known_hosts'), `${known}@revoked * ${type} ${key}`)
    const error = (await errorOf(stat())) as CosmosError
    expect(error.code).toBe('EACCES')
    expect(error.message).toContain('revoked')
  })

  test('hashed names as ssh-keygen writes them', async () => {
    await succeed('ssh-keygen', ['-q', '-H', '-f', sshd.key('known_hosts')])
    expect(readFileSync(sshd.key('known_hosts'), 'utf8')).toMatch(/^\|1\|/)
    expect(await stat()).toMatchObject({ size: 4 })
  })

  test('a host of which only the RSA key is known shows that one', async () => {
    sshd.forget()
    sshd.know(`[127.0.0.1]:${sshd.port}`, 'host_rsa')
    expect(await stat()).toMatchObject({ size: 4 })
  })

  test('another file of known hosts, and the name that it has there', async () => {
    sshd.forget()
    writeFileSync(sshd.at('elsewhere'), known.replace(/^\S+/, 'pinned'))
    configure(
      `Host *\n  UserKnownHostsFile ~/.ssh/known_hosts ${sshd.at('elsewhere')}\n  HostKeyAlias pinned\n`,
    )
    expect(await stat()).toMatchObject({ size: 4 })
  })

  test('an alias of the configuration, which another file of it has', async () => {
    writeFileSync(
      sshd.key('more.conf'),
      `Host box\n  HostName 127.0.0.1\n  Port ${sshd.port}\n  User ${sshd.user}\n  IdentityFile ~/.ssh/id_ed25519\n`,
    )
    configure('Include more.conf\nHost *\n  Port 1\n  User nobody\n')
    expect(await stat('box')).toMatchObject({ size: 4 })
  })

  test('over another host', async () => {
    const here = `HostName 127.0.0.1\n  Port ${sshd.port}\n  User ${sshd.user}\n`
    configure(`Host box\n  ${here}  ProxyJump jump\nHost jump\n  ${here}`)
    expect(await stat('box')).toMatchObject({ size: 4 })
    configure(`Host box\n  ${here}  ProxyJump jump\nHost jump\n  ${here}  ProxyJump box\n`)
    expect(await codeOf(stat('box'))).toBe('ELOOP')
  })

  test('a ProxyCommand is not run', async () => {
    configure(`Host box\n  ProxyCommand touch ${sshd.at('ran')}\n`)
    expect(await codeOf(stat('box'))).toBe('EOPNOTSUPP')
    configure(`Match exec "touch ${sshd.at('ran')}"\n  User nobody\n`)
    await stat()
    await expect(succeed('test', ['-e', sshd.at('ran')])).rejects.toThrow()
  })

  test('an encrypted key: ssh-add is what helps, and the agent has it then', async () => {
    configure(`IdentityFile ${sshd.key('locked')}\n`)
    const error = (await errorOf(stat())) as CosmosError
    expect(error.code).toBe('EACCES')
    expect(error.hint).toBe(`ssh-add ${sshd.key('locked')}`)
    expect(await stat(undefined, withAgent())).toMatchObject({ size: 4 })
    configure(`IdentityFile ${sshd.key('locked')}\nIdentitiesOnly yes\n`)
    expect(await stat(undefined, withAgent())).toMatchObject({ size: 4 })
  })

  test('only the keys that are named, also of the agent', async () => {
    configure(`IdentityFile ${sshd.key('other')}\nIdentitiesOnly yes\n`)
    const error = (await errorOf(stat(undefined, withAgent()))) as CosmosError
    expect(error.code).toBe('EACCES')
    expect(error.message).toContain('none of the keys')
    configure(`IdentityFile ${sshd.key('other')}\nIdentityAgent ${sshd.at('agent')}\n`)
    expect(await stat()).toMatchObject({ size: 4 })
  })

  test('an agent that is gone is passed over', async () => {
    expect(await stat(undefined, sshd.context({}, { SSH_AUTH_SOCK: '/nowhere' }))).toMatchObject({ size: 4 })
  })

  test('a password in a URL is refused, and nowhere to be read', async () => {
    const context = sshd.context()
    const error = (await errorOf(stat(`me:geheim@127.0.0.1:${sshd.port}`, context))) as CosmosError
    expect(error.code).toBe('EINVAL')
    expect(`${describeError(error)}${error.stack}${context.lines}`).not.toContain('geheim')
  })

  test('a configuration that is wrong says so', async () => {
    configure('Port ssh\n')
    expect(await errorOf(stat('127.0.0.1'))).toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('config'),
    })
  })

  test('one connection, however many ask and whatever they call it', async () => {
    const service = client()
    configure(`Host box\n  HostName 127.0.0.1\n  Port ${sshd.port}\n`)
    const before = sshd.log.join('').split('Accepted publickey').length
    const names = [undefined, 'box', `${sshd.user}@127.0.0.1:${sshd.port}`]
    await Promise.all(
      names.flatMap((name) => [1, 2, 3].map(() => service.stat(sshd.path('file', name), never))),
    )
    expect(sshd.log.join('').split('Accepted publickey').length).toBe(before + 1)
    expect(
      (await service.list({ scheme: 'ssh', segments: [] }, never)).map(({ name }) => name).sort(),
    ).toEqual([`127.0.0.1:${sshd.port}`, 'box', `${sshd.user}@127.0.0.1:${sshd.port}`].sort())
  })
})
