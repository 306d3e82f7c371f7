import { describePlaces } from '../support/places.ts'
import { cases } from './cases/files.ts'

describePlaces(cases, new URL('./cases/files.ts', import.meta.url))
