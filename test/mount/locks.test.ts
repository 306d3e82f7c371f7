import { describePlaces } from '../support/places.ts'
import { cases } from './cases/locks.ts'

describePlaces(cases, new URL('./cases/locks.ts', import.meta.url))
