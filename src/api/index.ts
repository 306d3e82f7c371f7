/**
 * Cosmos for programs: executables, library functions and nodes of the tree (design §5).
 *
 *     import { dlopen, exec, open } from 'cosmos'
 *     const cos = dlopen('libm.so.6').dlsym('double cos(double x)')
 *     await cos(0)
 */
export { CosmosError } from '../errors.ts'
export { type Execution, type ExecutionContext, type Exit, exec } from './execute.ts'
export { dlopen, type LibraryOptions, type OpenedLibrary, type RemoteCall } from './library.ts'
export { type OpenedNode, open } from './node.ts'
