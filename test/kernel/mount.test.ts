import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { setxattr } from '../../src/os/libc.ts'
import { cString } from '../../src/os/memory.ts'
import { canMount, TestMount } from './support.ts'

const run = promisify(execFile)

/** The driver under a real kernel, with a tree in memory; the daemon is a process that is killed at will. */
describe.skipIf(!canMount())('a mounted tree', () => {
  let mount: TestMount
  beforeEach(() => {
    mount = new TestMount()
  })
  afterEach(async () => {
    await mount.remove()
  })

  /** Runs a script in the mount; its output. Fails where it fails or takes longer than ten seconds. */
  async function shell(script: string): Promise<string> {
    const options = { cwd: '/', timeout: 10_000, env: { ...process.env, M: mount.path } }
    const { stdout } = await run('bash', ['-euc', `cd "$M"\n${script}`], options)
    return stdout.trim()
  }

  it('serves ordinary tools', async () => {
    await mount.start()
    expect(mount.output).toBe('ready true true\n')
    expect(
      await shell(`
        echo hello > a; cat a
        mkdir -p d/e; mv a d/e/b; cat d/e/b
        ln -s d/e/b link; readlink link; cat link
        ln d/e/b d/hard; stat -c '%h %s' d/hard
        echo more >> d/e/b; wc -c < d/hard
        truncate -s 3 d/hard; cat d/e/b; echo
        chmod 640 d/hard; stat -c %a d/hard
        find . | sort | tr '\\n' ' '; echo
        rm -r d; ls
        ! cat gone 2>/dev/null`),
    ).toBe('hello\nhello\nd/e/b\nhello\n2 6\n11\nhel\n640\n. ./d ./d/e ./d/e/b ./d/hard ./link \nlink')
  })

  it('moves megabytes unharmed', async () => {
    await mount.start()
    expect(
      await shell(`
        head -c 2500000 /dev/urandom > /tmp/cosmos-kernel-$$
        cp /tmp/cosmos-kernel-$$ big; cmp /tmp/cosmos-kernel-$$ big && echo same
        cmp /tmp/cosmos-kernel-$$ big && echo same; rm /tmp/cosmos-kernel-$$`),
    ).toBe('same\nsame')
  })

  it('stops between two requests, and the next daemon goes on', async () => {
    await mount.start()
    await shell('echo kept > a')
    expect(await mount.stop()).toBe(0)
    expect(mount.output).toContain('stopped')
    const waiting = shell('cat a')
    await mount.start()
    expect(await waiting).toBe('kept')
  })

  it('notices that it is unmounted', async () => {
    await mount.start()
    const { exited } = mount
    mount.unmount()
    expect(await exited).toBe(0)
    expect(mount.output).toContain('unmounted')
  })

  it.each([
    ['mkdir', 'mkdir d && test -d d && mkdir x'],
    ['create', 'echo data > a && cat a'],
    ['write', 'echo data > a && cat a'],
    ['rename', 'echo x > a; mv a b && test ! -e a && cat b'],
    ['unlink', 'echo x > a; rm a && test ! -e a'],
    ['symlink', 'ln -s t l && readlink l'],
    ['link', 'echo x > a; ln a b && stat -c %h a'],
    ['rmdir', 'mkdir d; rmdir d && test ! -e d'],
  ])('a daemon killed between the effect of %s and its answer is not noticed', async (operation, script) => {
    await mount.start(operation)
    const working = shell(script)
    expect(await mount.exited).toBe('SIGKILL')
    await mount.start()
    await working
  })

  it('kill -9 in the middle of reads and in a working directory is not noticed', async () => {
    await mount.start()
    await shell('mkdir -p w/v; head -c 300000 /dev/urandom > w/f')
    const sum = await shell('sha256sum < w/f')
    // Every open reads anew: the tree does not vouch for cached pages.
    const reading = shell('for i in $(seq 20); do sha256sum < w/f; sleep 0.02; done | sort | uniq -c')
    const living = shell(`cd w/v; for i in $(seq 60); do
      test "$(/bin/pwd)" = "$M/w/v"; ls .. > /dev/null; echo $i > x; test "$(cat x)" = $i; sleep 0.02; done; pwd`)
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      await mount.kill()
      await mount.start()
    }
    expect((await reading).split(/\s+/)).toEqual(['20', ...sum.split(/\s+/)])
    expect(await living).toBe(`${mount.path}/w/v`)
  })

  it('invalidates from a thread of its own', async () => {
    await mount.start('', { SECONDS: '3600' })
    expect(await shell('echo old > a; cat a; ls')).toBe('old\na')
    const value = cString('x')
    const result = setxattr(
      cString(`${mount.path}/a`).address,
      cString('user.x').address,
      value.address,
      1,
      0,
    )
    expect(result).toBe(0)
    expect(await shell('until grep -q changed a; do sleep 0.01; done; cat a')).toBe('changed')
  })
})
