with

source as (

    select
        *,
        {{ load_rank('id', ['_fivetran_start', '_landed_at'], ties=['status', 'customer_id', 'quantity']) }} as load_rank
    from {{ stripe('subscription_history') }}
    where
        case
            -- of a history with times, the version that began last by the clock
            when _fivetran_start is not null then {{ utc_timestamp('_fivetran_start') }} <= {{ as_of_at() }}
            -- of one without, the active version; else the only one
            else
                coalesce({{ true_or_false('_fivetran_active') }}, true)
                and {{ not_after_clock(utc_timestamp('created')) }}
                and {{ not_after_clock(utc_timestamp('start_date')) }}
        end

),

subscription_items as (

    select * from {{ ref('stg_stripe__subscription_items') }}

),

-- what newer API versions tell of the items only
summed_items as (

    select
        subscription_id,
        sum(quantity) as seats,
        min(case when period_started_at <= {{ as_of_at() }} then period_started_at end) as period_started_at,
        max(case when period_started_at <= {{ as_of_at() }} then period_ends_at end) as period_ends_at
    from subscription_items
    group by subscription_id

),

renamed as (

    select
        ---------- ids
        source.id as subscription_id,
        source.customer_id as stripe_customer_id,
        ---------- attributes
        lower(source.status) as status,
        cast(coalesce({{ quantity_sold('source.quantity') }}, summed_items.seats) as bigint) as seats,
        {{ true_or_false('source.cancel_at_period_end') }} as is_cancelled_at_period_end,
        ---------- timestamps
        {{ utc_timestamp('source.start_date') }} as started_at,
        {{ utc_timestamp('source.trial_start') }} as trial_started_at,
        {{ utc_timestamp('source.trial_end') }} as trial_ended_at,
        coalesce(summed_items.period_started_at, {{ utc_timestamp('source.current_period_start') }}) as period_started_at,
        coalesce(summed_items.period_ends_at, {{ utc_timestamp('source.current_period_end') }}) as period_ends_at,
        {{ utc_timestamp('source.canceled_at') }} as cancelled_at,
        {{ utc_timestamp('source.ended_at') }} as ended_at,
        {{ utc_timestamp('source._fivetran_start') }} as version_from,
        case
            when {{ utc_timestamp('source._fivetran_end') }} <= {{ as_of_at() }} then {{ utc_timestamp('source._fivetran_end') }}
        end as history_ended_at,
        {{ utc_timestamp('source._fivetran_end') }} as version_to,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join summed_items
        on source.id = summed_items.subscription_id
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null

),

final as (

    select
        subscription_id,
        stripe_customer_id,
        -- a history that stops says that the subscription is there no more
        case when history_ended_at is null then status else 'canceled' end as status,
        seats,
        is_cancelled_at_period_end,
        started_at,
        trial_started_at,
        trial_ended_at,
        period_started_at,
        period_ends_at,
        cancelled_at,
        coalesce(ended_at, history_ended_at) as ended_at,
        -- without a history: the last change that the subscription itself tells of
        coalesce(version_from, ended_at, cancelled_at, period_started_at, started_at) as valid_from,
        coalesce(version_to, cast('9999-12-31 23:59:59' as {{ dbt.type_timestamp() }})) as valid_to,
        loaded_at
    from renamed

)

select * from final
