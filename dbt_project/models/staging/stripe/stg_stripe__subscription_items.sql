with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at', ties=['subscription_id', 'price_id', 'quantity']) }} as load_rank
    from {{ stripe('subscription_item') }}

),

renamed as (

    select
        ---------- ids
        id as subscription_item_id,
        subscription_id,
        price_id,
        ---------- attributes
        {{ quantity_sold('quantity') }} as quantity,
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
    where {{ not_after_clock('created_at') }}

)

select * from known
