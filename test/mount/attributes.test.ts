import { describePlaces } from '../support/places.ts'
import { cases } from './cases/attributes.ts'

describePlaces(cases, new URL('./cases/attributes.ts', import.meta.url))
