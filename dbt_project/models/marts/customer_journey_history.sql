-- The stages that a customer went through, one after the other without a gap: those of its live days as they were
-- published, presales before a first deal was won, churned when nothing lives. A stage begins at the instant of the fact
-- that began it where that is known, else with its first day.
{% set timestamp = dbt.type_timestamp() %}
with

measured as (

    select *
    from {{ ref('int_customer_days__measured') }}
    where rules_version = {{ rules_version() }}

),

spells as (

    select * from {{ ref('int_customer_spells') }}

),

customer_usage as (

    select * from {{ ref('int_customers__used') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

deals as (

    select * from {{ ref('int_deals__attributed') }}

),

live_days as (

    select
        customer_id,
        as_of_date,
        journey_stage,
        live_from,
        paid_from,
        first_value_reached_raw
    from measured
    where as_of_date <= {{ as_of_date() }}

),

-- a day begins a stage when the day before was none of the same spell or of another stage
marked as (

    select
        live_days.*,
        lag(journey_stage) over (
            partition by customer_id, live_from
            order by as_of_date
        ) as previous_stage,
        lag(as_of_date) over (
            partition by customer_id, live_from
            order by as_of_date
        ) as previous_date
    from live_days

),

live_stages as (

    select
        marked.customer_id,
        marked.journey_stage,
        case
            when marked.previous_stage is null then marked.live_from
            when marked.journey_stage = 'onboarding' and cast(marked.paid_from as date) = marked.as_of_date then marked.paid_from
            when
                marked.previous_stage = 'onboarding'
                and cast(customer_usage.first_value_at as date) = marked.as_of_date
                then customer_usage.first_value_at
            else cast(marked.as_of_date as {{ timestamp }})
        end as entered_at,
        coalesce(marked.previous_stage = 'onboarding', false) and coalesce(marked.first_value_reached_raw, 0) = 0 as is_not_activated
    from marked
    left join customer_usage
        on marked.customer_id = customer_usage.customer_id
    where
        marked.previous_stage is null
        or marked.previous_stage <> marked.journey_stage

),

-- nothing lives any more, until a next spell begins
ended as (

    select
        customer_id,
        'churned' as journey_stage,
        ended_at as entered_at,
        false as is_not_activated
    from spells
    where ended_at is not null

),

-- what never lived a day: a subscription that was never completed, or began and ended in between
never_live as (

    select
        subscribed.customer_id,
        'churned' as journey_stage,
        coalesce(subscribed.first_started_at, {{ as_of_at() }}) as entered_at,
        false as is_not_activated
    from subscribed
    left join spells
        on subscribed.customer_id = spells.customer_id
    where spells.customer_id is null

),

first_spells as (

    select
        customer_id,
        min(live_from) as first_live_from
    from spells
    group by customer_id

),

-- before the first spell a deal was open
first_deals as (

    select
        deals.customer_id,
        'presales' as journey_stage,
        min(deals.created_at) as entered_at,
        false as is_not_activated
    from deals
    inner join first_spells
        on
            deals.customer_id = first_spells.customer_id
            and deals.created_at < first_spells.first_live_from
    where not deals.is_renewal
    group by deals.customer_id

),

stages as (

    select * from first_deals
    union all
    select * from live_stages
    union all
    select * from ended
    union all
    select * from never_live

),

-- of two that begin in one instant the later on the way holds; the same stage twice in a row is one
ordered as (

    select
        stages.*,
        lag(journey_stage) over (
            partition by customer_id
            order by entered_at, {{ stage_order('journey_stage') }}
        ) as stage_before,
        lead(entered_at) over (
            partition by customer_id
            order by entered_at, {{ stage_order('journey_stage') }}
        ) as next_entered_at
    from stages

),

begun as (

    select *
    from ordered
    where
        (next_entered_at is null or next_entered_at > entered_at)
        and (stage_before is null or stage_before <> journey_stage)

),

followed as (

    select
        begun.*,
        lead(entered_at) over (
            partition by customer_id
            order by entered_at
        ) as exited_at,
        lead(journey_stage) over (
            partition by customer_id
            order by entered_at
        ) as next_stage,
        lead(is_not_activated) over (
            partition by customer_id
            order by entered_at
        ) as is_next_not_activated
    from begun

),

final as (

    select
        customer_id,
        journey_stage,
        entered_at,
        exited_at,
        {{ days_between('entered_at', 'coalesce(exited_at, ' ~ as_of_at() ~ ')') }} as days_in_stage,
        next_stage,
        is_not_activated,
        is_next_not_activated
    from followed

)

select * from final
