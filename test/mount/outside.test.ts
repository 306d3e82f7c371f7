import { describePlaces } from '../support/places.ts'
import { cases } from './cases/outside.ts'

describePlaces(cases, new URL('./cases/outside.ts', import.meta.url))
