-- Whether each candidate of each trigger may be sent now, and if not, why: the first reason that holds. What was decided
-- for good stays decided; what was put off is decided anew until it expires. The reverse ETL sends only what says `send`.
{% set history = remembered('trigger_decisions_history') %}
{% set text = dbt.type_string() %}
with

{% for trigger in var('triggers') %}
{{ trigger }} as (

    select * from {{ ref('trg_' ~ trigger) }}

),

{% endfor %}
playbooks as (

    select * from {{ ref('playbooks') }}

),

caps as (

    select * from {{ ref('caps') }}

),

experiments as (

    select * from {{ ref('experiments') }}

),

holidays as (

    select * from {{ ref('holidays') }}

),

country_groups as (

    select * from {{ ref('country_groups') }}

),

episodes as (

    select * from {{ ref('trigger_episodes') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

consents as (

    select * from {{ ref('contact_consents') }}

),

touch_plan as (

    select * from {{ ref('customer_touch_plan') }}

),

touchpoints as (

    select * from {{ ref('touchpoints') }}

),

-- what was decided for good in earlier builds
settled as (

    {% if history is none %}
    select
        cast(null as {{ text }}) as event_id,
        cast(null as {{ text }}) as decision,
        cast(null as {{ text }}) as reason,
        cast(null as {{ text }}) as decision_if_live,
        cast(null as {{ dbt.type_timestamp() }}) as send_not_before,
        cast(null as {{ dbt.type_timestamp() }}) as decided_at
    where 1 = 0
    {% else %}
    select
        event_id,
        decision,
        reason,
        decision_if_live,
        send_not_before,
        decided_at
    from {{ history }}
    where
        is_final
        and decided_at <= {{ as_of_at() }}
    {% endif %}

),

candidates as (

    {% for trigger in var('triggers') %}
    select
        event_id,
        '{{ trigger }}' as trigger_name,
        customer_id,
        contact_id,
        occurred_at
    from {{ trigger }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

-- the last episode of a kind is the one that counts for a person
ranked_candidates as (

    select
        candidates.*,
        row_number() over (
            partition by candidates.trigger_name, candidates.customer_id, candidates.contact_id
            order by candidates.occurred_at desc, candidates.event_id
        ) as recency
    from candidates

),

-- touches that count against a cap: commercial ones by whoever, and what this system decided to send
counted_touches as (

    select
        customer_id,
        contact_id,
        occurred_at as touched_at,
        'commercial' as cap_class
    from touchpoints
    where
        is_commercial
        and direction = 'outbound'
        and channel in ('email', 'in_app')
        and source_name <> 'activation'

    {% if history is not none %}
    union all

    select
        decided.customer_id,
        decided.contact_id,
        decided.decided_at as touched_at,
        playbooks.cap_class
    from {{ history }} as decided
    inner join playbooks
        on decided.trigger_name = playbooks.trigger_name
    where
        decided.decision = 'send'
        and decided.decided_at < {{ as_of_at() }}
    {% endif %}

),

candidate_customers as (

    select distinct customer_id
    from candidates

),

-- what each cap has left for a person and for a customer
contact_touches as (

    select
        counted_touches.contact_id,
        caps.cap_class,
        caps.days,
        count(*) as touches
    from counted_touches
    inner join caps
        on
            counted_touches.cap_class = caps.cap_class
            and caps.scope = 'contact'
            and cast(counted_touches.touched_at as date) > {{ days_before(as_of_date(), 'caps.days') }}
    group by
        counted_touches.contact_id,
        caps.cap_class,
        caps.days

),

contact_room as (

    select
        contacts.contact_id,
        caps.cap_class,
        min(caps.max_touches - coalesce(contact_touches.touches, 0)) as room
    from contacts
    cross join caps
    left join contact_touches
        on
            contacts.contact_id = contact_touches.contact_id
            and caps.cap_class = contact_touches.cap_class
            and caps.days = contact_touches.days
    where caps.scope = 'contact'
    group by
        contacts.contact_id,
        caps.cap_class

),

customer_touches as (

    select
        counted_touches.customer_id,
        caps.cap_class,
        caps.days,
        count(*) as touches
    from counted_touches
    inner join caps
        on
            counted_touches.cap_class = caps.cap_class
            and caps.scope = 'customer'
            and cast(counted_touches.touched_at as date) > {{ days_before(as_of_date(), 'caps.days') }}
    group by
        counted_touches.customer_id,
        caps.cap_class,
        caps.days

),

customer_room as (

    select
        candidate_customers.customer_id,
        caps.cap_class,
        min(caps.max_touches - coalesce(customer_touches.touches, 0)) as room
    from candidate_customers
    cross join caps
    left join customer_touches
        on
            candidate_customers.customer_id = customer_touches.customer_id
            and caps.cap_class = customer_touches.cap_class
            and caps.days = customer_touches.days
    where caps.scope = 'customer'
    group by
        candidate_customers.customer_id,
        caps.cap_class

),

universal as (

    select *
    from experiments
    where experiment = 'universal'

),

-- customers are held out, never single people, and the same ones in every build
joined as (

    select
        ranked_candidates.event_id,
        ranked_candidates.trigger_name,
        ranked_candidates.customer_id,
        ranked_candidates.contact_id,
        ranked_candidates.occurred_at,
        ranked_candidates.recency,
        playbooks.audience,
        playbooks.channel,
        playbooks.legal_basis,
        playbooks.consent_purpose,
        playbooks.state,
        playbooks.cap_class,
        playbooks.priority,
        {{ dbt.dateadd('day', 'playbooks.expires_days', 'ranked_candidates.occurred_at') }} as expires_at,
        coalesce(episodes.is_silent, false) as is_silent,
        contacts.contact_id as known_contact_id,
        consents.is_allowed,
        consents.basis,
        consents.stopped_by,
        contacts.is_bounced,
        contacts.is_unsubscribed,
        contacts.country,
        {{ local_time(as_of_at(), "coalesce(contacts.time_zone, country_groups.time_zone, 'UTC')") }} as local_at,
        coalesce(touch_plan.queue_status in ('in_touch', 'snoozed'), false) as is_human_in_touch,
        playbooks.audience = 'contact' and playbooks.legal_basis <> 'service' and (
            {{ is_drawn('experiments', 'ranked_candidates') }}
            or {{ is_drawn('universal', 'ranked_candidates') }}
        ) as is_held_out,
        contact_room.room as contact_room,
        customer_room.room as customer_room
    from ranked_candidates
    inner join playbooks
        on ranked_candidates.trigger_name = playbooks.trigger_name
    left join episodes
        on ranked_candidates.event_id = episodes.event_id
    left join contacts
        on ranked_candidates.contact_id = contacts.contact_id
    left join country_groups
        on contacts.country = country_groups.country
    left join consents
        on
            ranked_candidates.contact_id = consents.contact_id
            and playbooks.consent_channel = consents.channel
            and playbooks.consent_purpose = consents.purpose
    left join touch_plan
        on ranked_candidates.customer_id = touch_plan.customer_id
    left join experiments
        on playbooks.experiment = experiments.experiment
    left join universal
        on playbooks.legal_basis <> 'service'
    left join contact_room
        on
            ranked_candidates.contact_id = contact_room.contact_id
            and playbooks.cap_class = contact_room.cap_class
    left join customer_room
        on
            ranked_candidates.customer_id = customer_room.customer_id
            and playbooks.cap_class = customer_room.cap_class

),

-- messages go in the hours of the person, not at night, at weekends or on holidays
in_hours as (

    select
        joined.*,
        cast(local_at as date) as local_date,
        {{ hour_of('local_at') }} >= {{ threshold('sending_from_hour') }}
        and {{ hour_of('local_at') }} < {{ threshold('sending_until_hour') }}
        and not {{ is_weekend('cast(local_at as date)') }}
        and holidays.holiday_date is null as is_in_hours
    from joined
    left join holidays
        on
            joined.country = holidays.country
            and cast(joined.local_at as date) = holidays.holiday_date

),

-- everything but the places that are left, which depend on who else wants them
judged as (

    select
        in_hours.*,
        case
            when {{ threshold('pause_everything') }} = 1 or state = 'paused' then 'paused'
            when is_silent or recency > 1 then 'superseded'
            when expires_at <= {{ as_of_at() }} then 'stale'
            when audience = 'owner' then 'send'
            when known_contact_id is null then 'suppressed'
            when stopped_by = 'bounced' or is_bounced then 'bounced'
            when stopped_by = 'complained' then 'suppressed'
            when stopped_by in ('unsubscribed', 'opted_out') then 'unsubscribed'
            when legal_basis <> 'service' and is_unsubscribed then 'unsubscribed'
            when not coalesce(is_allowed, false) then 'no_consent'
            when legal_basis = 'opt_in' and basis <> 'opt_in' then 'no_consent'
            when legal_basis = 'soft_opt_in' and basis not in ('opt_in', 'soft_opt_in') then 'no_consent'
            when is_held_out then 'held_out'
            when cap_class = 'commercial' and is_human_in_touch then 'human_in_touch'
            when not is_in_hours then 'quiet_hours'
            else 'send'
        end as judgement
    from in_hours

),

-- what could go now competes for a place; what a build at this very instant decided to send keeps the place it took
contending as (

    select
        judged.*,
        audience = 'contact' and case
            when settled.event_id is null then judged.judgement = 'send'
            else settled.decision_if_live = 'send' and settled.decided_at = {{ as_of_at() }}
        end as is_contending
    from judged
    left join settled
        on judged.event_id = settled.event_id

),

-- the first for a person goes, then as many as the customer has room for
contended as (

    select
        contending.*,
        row_number() over (
            partition by case when is_contending then contact_id else event_id end, cap_class, state
            order by priority desc, occurred_at, event_id
        ) as contact_place
    from contending

),

placed as (

    select
        contended.*,
        sum(case
            when
                is_contending
                and cap_class <> 'exempt'
                and contact_place = 1
                and coalesce(contact_room, 0) > 0
                then 1
            else 0
        end) over (
            partition by customer_id, cap_class, state
            order by priority desc, occurred_at, event_id
            rows between unbounded preceding and current row
        ) as customer_place
    from contended

),

decided as (

    select
        placed.*,
        case
            when judgement <> 'send' or audience = 'owner' or cap_class = 'exempt' then judgement
            when contact_place > 1 then 'outranked'
            when coalesce(contact_room, 0) <= 0 then 'capped'
            when customer_place > coalesce(customer_room, 0) then 'capped'
            else 'send'
        end as decision_if_live
    from placed

),

worded as (

    select
        decided.*,
        case when state = 'shadow' and decision_if_live = 'send' then 'paused' else decision_if_live end as decision
    from decided

),

final as (

    select
        worded.event_id,
        worded.trigger_name,
        worded.customer_id,
        worded.contact_id,
        worded.channel,
        worded.occurred_at,
        coalesce(settled.decision, worded.decision) as decision,
        coalesce(settled.reason, case
            when worded.state = 'shadow' and worded.decision_if_live = 'send' then 'In shadow: would be sent now'
            when worded.decision = 'send' then 'Nothing speaks against it'
            when worded.decision = 'paused' then 'The trigger, or everything, is paused'
            when worded.decision = 'superseded' and worded.is_silent then 'Opened by a change of rules, not of the customer'
            when worded.decision = 'superseded' then 'A later episode of the same kind counts'
            when worded.decision = 'stale' then 'Too long ago to be of use'
            when worded.decision = 'suppressed' and worded.known_contact_id is null then 'The contact is no longer known'
            when worded.decision = 'suppressed' then 'The contact has complained'
            when worded.decision = 'bounced' then 'Mail to this address came back for good'
            when worded.decision = 'unsubscribed' then 'The contact has unsubscribed'
            when worded.decision = 'no_consent' then 'No legal basis for this message is known'
            when worded.decision = 'held_out' then 'The customer is held out to see what touches change'
            when worded.decision = 'human_in_touch' then 'A success manager is in touch'
            when worded.decision = 'quiet_hours' then 'Outside of the hours of the contact'
            when worded.decision = 'outranked' then 'Something more important goes to the contact first'
            when worded.decision = 'capped' then 'The contact or the customer has had enough messages'
        end) as reason,
        coalesce(settled.decision_if_live, worded.decision_if_live) as decision_if_live,
        coalesce(settled.send_not_before, case
            when worded.decision = 'send' then {{ as_of_at() }}
            when worded.decision = 'quiet_hours' then {{ dbt.dateadd('hour', 1, as_of_at()) }}
        end) as send_not_before,
        worded.expires_at,
        coalesce(settled.decided_at, {{ as_of_at() }}) as decided_at,
        coalesce(settled.decision, worded.decision) not in ('quiet_hours', 'capped', 'outranked', 'human_in_touch') as is_final
    from worded
    left join settled
        on worded.event_id = settled.event_id

)

select * from final
