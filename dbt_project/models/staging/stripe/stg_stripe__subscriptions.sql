with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_stripe', 'subscription_history') }}
    -- the version in force at the clock
    where
        {{ utc_timestamp('_fivetran_start') }} <= {{ as_of_at() }}
        and {{ utc_timestamp('_fivetran_end') }} > {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        id as subscription_id,
        customer_id as stripe_customer_id,
        ---------- attributes
        status,
        {{ whole_number('quantity') }} as seats,
        {{ true_or_false('cancel_at_period_end') }} as is_cancelled_at_period_end,
        ---------- timestamps
        {{ utc_timestamp('start_date') }} as started_at,
        {{ utc_timestamp('trial_start') }} as trial_started_at,
        {{ utc_timestamp('trial_end') }} as trial_ended_at,
        {{ utc_timestamp('current_period_start') }} as period_started_at,
        {{ utc_timestamp('current_period_end') }} as period_ends_at,
        {{ utc_timestamp('canceled_at') }} as cancelled_at,
        {{ utc_timestamp('ended_at') }} as ended_at,
        {{ utc_timestamp('_fivetran_start') }} as valid_from,
        {{ utc_timestamp('_fivetran_end') }} as valid_to,
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

)

select * from renamed
