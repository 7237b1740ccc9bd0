with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ stripe('subscription_item') }}

),

renamed as (

    select
        ---------- ids
        id as subscription_item_id,
        subscription_id,
        price_id,
        ---------- attributes
        {{ whole_number('quantity') }} as quantity,
        ---------- timestamps
        {{ utc_timestamp('created') }} as created_at,
        {{ utc_timestamp('current_period_start') }} as period_started_at,
        {{ utc_timestamp('current_period_end') }} as period_ends_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where created_at <= {{ as_of_at() }}

)

select * from known
